// Package enginetest gives tests a real engine: one voter in t.TempDir(), claimed, with a tenant and its admin. It
// does not run the loops of OnTerm; a test that wants them calls Run.
package enginetest

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// What a new engine holds.
const (
	Cluster = gestor.ClusterID("clu_test")
	Tenant  = gestor.TenantID("ten_test")
	Admin   = gestor.UserID("usr_admin")
	Email   = "admin@example.com"
)

// Actor is the admin of the test tenant.
func Actor() gestor.Actor {
	return gestor.Actor{Kind: "user", ID: string(Admin), Name: Email, TenantID: Tenant}
}

// New opens a claimed engine that ends with the test.
func New(t testing.TB) *engine.Engine {
	t.Helper()
	e := Open(t, t.TempDir())
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	setup := sha256.Sum256([]byte("setup"))
	system := gestor.SystemActor("setup")
	Propose(t, e, system, command.InitCluster{Cluster: gestor.Cluster{ID: Cluster, SetupHash: setup[:]}})
	Propose(t, e, system, command.Claim{ //nolint:gosec // no password has this hash
		SetupHash:    setup[:],
		TenantID:     Tenant,
		TenantName:   "Test",
		UserID:       Admin,
		Email:        Email,
		PasswordHash: "$argon2id$unused",
	})
	return e
}

// Open opens an engine in dir, new or not, and waits until it leads. The caller closes it.
func Open(t testing.TB, dir string) *engine.Engine {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, Version: "test", Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	if err := e.Ready(ctx); err != nil {
		t.Fatalf("engine: %v", err)
	}
	return e
}

// Propose applies op in an actor's name, now, or ends the test.
func Propose(t testing.TB, e *engine.Engine, actor gestor.Actor, op command.Op) command.Receipt {
	t.Helper()
	r, err := e.Propose(context.Background(), command.Command{At: time.Now(), Actor: actor, Op: op})
	if err != nil {
		t.Fatalf("propose %T: %v", op, err)
	}
	return r
}

// AddNode enrols a node of the test tenant and marks it connected.
func AddNode(t testing.TB, e *engine.Engine, id gestor.NodeID, name string) {
	t.Helper()
	secret, key := sha256.Sum256([]byte("secret "+name)), sha256.Sum256([]byte("key "+name))
	token := gestor.JoinToken{
		ID:         "join-" + name,
		TenantID:   Tenant,
		SecretHash: secret[:],
		NodeName:   name,
		NodeID:     id,
		ExpiresAt:  time.Now().Add(time.Hour),
	}
	Propose(t, e, Actor(), command.CreateJoinToken{Token: token})
	Propose(t, e, gestor.SystemActor("enrol"), command.EnrollNode{TokenID: token.ID, SecretHash: secret[:], SPKI: key[:]})
	Propose(t, e, gestor.SystemActor("nodes"), command.SetNodeStatus{ID: id, Status: gestor.NodeConnected})
}
