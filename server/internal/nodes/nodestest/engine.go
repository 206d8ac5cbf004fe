// Package nodestest helps to test what works with agents: a real state machine without Raft around it, a server that
// real agent streams connect to, and an agent that does what a script says.
package nodestest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/fsm/fsmtest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is the state machine and its store, with commands applied one by one where Raft would be.
type Engine struct {
	store *state.Store
	fsm   *fsm.FSM

	mu    sync.Mutex
	index uint64
}

// NewEngine makes an Engine with a tenant.
func NewEngine(t testing.TB) *Engine {
	t.Helper()
	store, err := state.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	e := &Engine{store: store, fsm: fsm.New(store, "test")}
	hash := make([]byte, 32)
	e.Must(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: hash}})
	e.Must(t, command.Claim{
		SetupHash: hash, TenantID: Tenant, TenantName: "Acme", UserID: "usr_1", Email: "ana@example.com", PasswordHash: "x",
	})
	return e
}

// Tenant is the tenant all is of; Person is its user.
const Tenant gestor.TenantID = "ten_1"

// Person is a user of Tenant.
func Person() gestor.Actor {
	return gestor.Actor{Kind: "user", ID: "usr_1", Name: "ana@example.com", TenantID: Tenant}
}

// Propose applies a command.
func (e *Engine) Propose(ctx context.Context, c command.Command) (command.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return command.Receipt{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.index++
	return fsmtest.Apply(e.fsm, e.index, c)
}

// ProposeHere applies a command in its wire form.
func (e *Engine) ProposeHere(ctx context.Context, data []byte) (command.Receipt, error) {
	c, err := command.Unmarshal(data)
	if err != nil {
		return command.Receipt{}, err
	}
	return e.Propose(ctx, c)
}

// Wait waits for what is not applied yet: what was proposed is.
func (e *Engine) Wait(ctx context.Context, revision uint64) error {
	e.mu.Lock()
	index := e.index
	e.mu.Unlock()
	if revision <= index {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// Barrier returns at once.
func (e *Engine) Barrier(context.Context) error { return nil }

// ID is that of the only server, which always leads.
func (e *Engine) ID() string { return "srv_1" }

// Leader is the only server.
func (e *Engine) Leader() string { return e.ID() }

// LastContact is now.
func (e *Engine) LastContact() time.Time { return time.Now() }

// View reads the state.
func (e *Engine) View(s gestor.Scope) *state.View { return e.store.View(s) }

// Watch is signalled after commits.
func (e *Engine) Watch(tables ...state.Table) *state.Subscription { return e.store.Watch(tables...) }

// Must proposes as the person, or as the system where the person may not.
func (e *Engine) Must(t testing.TB, op command.Op) command.Receipt {
	t.Helper()
	actor := Person()
	switch op.(type) {
	case command.InitCluster, command.Claim, command.EnrollNode, command.SetNodeStatus, command.LeaseTask, command.LoseTask, command.FinishTask:
		actor = gestor.SystemActor("test")
	}
	r, err := e.Propose(context.Background(), command.Command{At: time.Now(), Actor: actor, Op: op})
	if err != nil {
		t.Fatalf("propose %T: %v", op, err)
	}
	return r
}

// AddNode enrols a node with that name and the id "nod_<name>".
func (e *Engine) AddNode(t testing.TB, name string) gestor.NodeID {
	t.Helper()
	id := gestor.NodeID("nod_" + name)
	facts, err := proto.Marshal(&gestorv1.NodeFacts{Cpus: 4, Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("secret of " + name)
	e.Must(t, command.CreateJoinToken{Token: gestor.JoinToken{
		ID: "tok_" + name, TenantID: Tenant, SecretHash: secret, NodeName: name, NodeID: id, ExpiresAt: time.Now().Add(time.Hour),
	}})
	e.Must(t, command.EnrollNode{TokenID: "tok_" + name, SecretHash: secret, SPKI: []byte(name), Facts: facts})
	return id
}

// AddApp makes an app with the id "app_<slug>" on nodes.
func (e *Engine) AddApp(t testing.TB, slug string, settings gestor.AppSettings, nodes ...gestor.NodeID) gestor.AppID {
	t.Helper()
	id := gestor.AppID("app_" + slug)
	settings.Nodes = nodes
	settings.Repository = "https://git.example.com/" + slug
	if len(settings.Domains) == 0 {
		settings.Domains = []string{slug + ".example.com"}
	}
	e.Must(t, command.CreateApp{App: gestor.App{ID: id, TenantID: Tenant, Slug: slug, Settings: settings}})
	return id
}

// Await waits until ok holds, looking again at every commit.
func (e *Engine) Await(t testing.TB, what string, ok func(v *state.View) bool) {
	t.Helper()
	sub := e.Watch(state.Tasks, state.Nodes, state.Apps, state.Builds, state.Deployments, state.Releases)
	defer sub.Close()
	limit := time.After(20 * time.Second)
	for !ok(e.View(gestor.SystemScope())) {
		select {
		case <-sub.C:
		case <-limit:
			t.Fatalf("waited in vain for %s\n%s", what, e.dump(t))
		}
	}
}

// dump lists what there is, for failed tests.
func (e *Engine) dump(t testing.TB) string {
	t.Helper()
	v := e.View(gestor.SystemScope())
	var out strings.Builder
	deployments, err := v.ActiveDeployments(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deployments {
		fmt.Fprintf(&out, "deployment %s is %s, error %q\n", d.ID, d.State, d.Error)
	}
	tasks, _, err := v.Tasks(context.Background(), state.TaskFilter{}, gestor.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		fmt.Fprintf(&out, "%s on %s is %s (attempt %d, fence %d, waiting %q, error %q)\n",
			task.Kind, task.NodeID, task.State, task.Attempt, task.Fence, task.Waiting, task.Error)
	}
	return out.String()
}
