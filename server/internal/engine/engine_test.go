package engine_test

import (
	"testing"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestPropose_IsReadBackAndSurvivesAReopenWithoutSnapshot(t *testing.T) {
	dir := t.TempDir()
	e := enginetest.Open(t, dir)
	enginetest.Propose(t, e, gestor.SystemActor("setup"), command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}})
	before, err := e.StateHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = enginetest.Open(t, dir)
	defer e.Close()
	after, err := e.StateHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the state changed with a restart: %s, %s", before, after)
	}
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
