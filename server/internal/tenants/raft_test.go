package tenants

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestEnd_WorksOverARealLog(t *testing.T) {
	e := enginetest.New(t)
	clock := &turned{now: time.Now()}
	deployer := deploy.New(deploy.Options{Engine: e, Now: clock.Now})
	service := New(Options{Engine: e, Remover: deployer, Clock: clock, After: func(time.Duration) <-chan time.Time { return time.After(20 * time.Millisecond) }})
	e.OnTerm("deploy", deployer.RunTerm)
	e.OnTerm("tenants", service.RunTerm)
	nodestest.Run(t, e.Run)

	system := gestor.SystemActor("test")
	secret := sha256.Sum256([]byte("secret"))
	for _, op := range []command.Op{
		command.CreateTenant{Tenant: gestor.Tenant{ID: customer, Name: "Xylo", Plan: gestor.PlanFree}},
		command.CreateJoinToken{Token: gestor.JoinToken{
			ID: "tok_1", TenantID: customer, SecretHash: secret[:], NodeName: "web1", NodeID: "nod_own", ExpiresAt: time.Now().Add(time.Hour),
		}},
		command.EnrollNode{TokenID: "tok_1", SecretHash: secret[:], SPKI: secret[:]},
		command.SetNodeStatus{ID: "nod_own", Status: gestor.NodeConnected},
	} {
		enginetest.Propose(t, e, system, op)
	}
	app := gestor.App{ID: "app_shop", Slug: "shop", Settings: gestor.AppSettings{Repository: "https://git.example.com/shop", Nodes: []gestor.NodeID{"nod_own"}}}
	enginetest.Propose(t, e, gestor.Actor{Kind: "user", ID: "usr_x", TenantID: customer}, command.CreateApp{App: app})
	enginetest.Propose(t, e, system, command.SetTenantStatus{ID: customer, Status: gestor.StatusTrash})
	clock.turn(gestor.TrashTime + time.Second)

	view := e.View(gestor.SystemScope())
	var removal gestor.Task
	eventually(t, "the removal to begin", func() bool {
		tasks, _, err := view.Tasks(t.Context(), state.TaskFilter{App: "app_shop"}, gestor.Page{})
		if err != nil || len(tasks) == 0 {
			return false
		}
		removal = tasks[0]
		return removal.Kind == gestor.TaskRemove
	})
	lease := enginetest.Propose(t, e, system, command.LeaseTask{ID: removal.ID, Node: "nod_own"})
	enginetest.Propose(t, e, system, command.FinishTask{ID: removal.ID, Fence: lease.Revision, Outcome: gestor.TaskSucceeded})
	eventually(t, "the tenant to be gone", func() bool {
		_, err := view.Tenant(context.Background(), customer)
		return fault.KindOf(err) == fault.KindNotFound
	})
}

// eventually waits until ok holds, looking often.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
