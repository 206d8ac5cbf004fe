package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestPropose_IsReadBackAndSurvivesAReopenWithoutSnapshot(t *testing.T) {
	dir := t.TempDir()
	e := enginetest.Open(t, dir)
	enginetest.Propose(t, e, gestor.SystemActor("setup"), command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}})
	e = reopened(t, e, dir)
	if c, err := e.View(gestor.SystemScope()).Cluster(t.Context()); err != nil || c.ID != "clu_1" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestNew_IsClaimedWithATenantAndANode(t *testing.T) {
	e := enginetest.New(t)
	enginetest.AddNode(t, e, "nod_1", "web1")
	n, err := e.View(gestor.TenantScope(enginetest.Tenant)).NodeByName(t.Context(), "web1")
	if err != nil || n.ID != "nod_1" || n.Status != gestor.NodeConnected {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestPropose_ReturnsARefusalWithItsKind(t *testing.T) {
	e := enginetest.New(t)
	_, err := e.Propose(t.Context(), command.Command{Actor: enginetest.Actor(), Op: command.DeleteApp{ID: "app_9"}})
	if fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("got %v", err)
	}
}

func TestWait_ReturnsOnceTheRevisionIsApplied(t *testing.T) {
	e := enginetest.New(t)
	next := e.Revision() + 1
	waited := make(chan error, 1)
	go func() { waited <- e.Wait(t.Context(), next) }()
	r := enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_1", Slug: "shop"}})
	if err := <-waited; err != nil || r.Revision < next || r.Object != "app_1" {
		t.Errorf("got %v, %+v", err, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Wait(ctx, r.Revision+1000); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWatch_IsSignalledBeforeProposeReturns(t *testing.T) {
	e := enginetest.New(t)
	apps := e.Watch(state.Apps)
	defer apps.Close()
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_1", Slug: "shop"}})
	select {
	case <-apps.C:
	default:
		t.Error("no signal")
	}
}

func TestReopen_RestoresASnapshotAndTheLogBehindIt(t *testing.T) {
	dir := t.TempDir()
	e := enginetest.Open(t, dir)
	enginetest.Propose(t, e, gestor.SystemActor("setup"), command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}})
	if err := e.Snapshot(); err != nil {
		t.Fatal(err)
	}
	claim := command.Claim{TenantID: "ten_1", UserID: "usr_1", Email: "a@example.com"}
	enginetest.Propose(t, e, gestor.SystemActor("setup"), claim)
	reopened(t, e, dir)
}

// reopened closes e, opens what it left in dir until the test ends, and checks that the state is the same.
func reopened(t *testing.T, e *engine.Engine, dir string) *engine.Engine {
	t.Helper()
	before := hash(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = enginetest.Open(t, dir)
	t.Cleanup(func() { _ = e.Close() })
	if after := hash(t, e); after != before {
		t.Errorf("the state changed with a restart: %s, %s", before, after)
	}
	return e
}

func hash(t *testing.T, e *engine.Engine) string {
	t.Helper()
	h, err := e.StateHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}
