package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// sharedWorld is tenantsWorld with nod_1, of ten_a, shared, and the app app_b of ten_b on it.
func sharedWorld(t testing.TB) *world {
	t.Helper()
	w := tenantsWorld(t)
	w.refuses(fault.KindInvalid, command.CreateApp{App: newApp("app_b", "bravo", "nod_1")})
	w.as(olga).must(command.ShareNode{ID: "nod_1", Shared: true})
	w.as(bob).must(command.CreateApp{App: newApp("app_b", "bravo", "nod_1")})
	return w
}

func TestSharedNode_IsUsedByAllAndManagedByItsOwnerAndOperators(t *testing.T) {
	w := sharedWorld(t)
	w.as(bob)
	for _, op := range []command.Op{
		command.SetNodeDraining{ID: "nod_1", Draining: true},
		command.DeleteNode{ID: "nod_1"},
		command.ShareNode{ID: "nod_1"},
	} {
		w.refuses(fault.KindDenied, op)
	}
	w.as(alice).must(command.SetNodeDraining{ID: "nod_1", Draining: true})
	stranger := olga
	stranger.TenantID = "ten_b" // an operator at home in another tenant
	w.as(stranger).must(command.SetNodeDraining{ID: "nod_1"})
}

func TestSharedNode_TasksOfEveryTenantAreLeasedAndReportedByItsAgent(t *testing.T) {
	w := sharedWorld(t)
	w.must(command.CreateTask{Task: gestor.Task{ID: "tsk_b", Kind: gestor.TaskDetect, NodeID: "nod_1", AppID: "app_b", Timeout: time.Minute}})
	w.as(system)
	lease := w.must(command.LeaseTask{ID: "tsk_b", Node: "nod_1"})
	w.as(gestor.Actor{Kind: "agent", ID: "nod_b", TenantID: "ten_b"}).refuses(fault.KindNotFound, command.StartTask{ID: "tsk_b", Fence: lease.Revision})
	w.as(gestor.Actor{Kind: "agent", ID: "nod_1", TenantID: "ten_a"})
	w.must(command.StartTask{ID: "tsk_b", Fence: lease.Revision})
	w.must(command.FinishTask{ID: "tsk_b", Fence: lease.Revision, Outcome: gestor.TaskSucceeded})
	w.as(alice).refuses(fault.KindNotFound, command.CancelTask{ID: "tsk_b"}) // whose node it is does not make the work hers
}

func TestDeleteNode_NamesNobodyElsesApps(t *testing.T) {
	w := sharedWorld(t)
	err := w.as(alice).refusal(fault.KindConflict, command.DeleteNode{ID: "nod_1"})
	if text := err.Error(); !strings.Contains(text, "shop") || strings.Contains(text, "bravo") {
		t.Errorf("got %v", err)
	}
	w.must(command.DeleteApp{ID: "app_1"})
	err = w.refusal(fault.KindConflict, command.DeleteNode{ID: "nod_1"})
	if text := err.Error(); !strings.Contains(text, "an app of another tenant") || strings.Contains(text, "bravo") {
		t.Errorf("got %v", err)
	}
	err = w.as(olga).refusal(fault.KindConflict, command.DeleteNode{ID: "nod_1"})
	if strings.Contains(err.Error(), "bravo") {
		t.Errorf("an operator learns of a tenant's app: %v", err)
	}
}

func TestDedicateNode_IsRefusedWhileOthersAreOnIt(t *testing.T) {
	w := sharedWorld(t)
	err := w.as(olga).refusal(fault.KindConflict, command.ShareNode{ID: "nod_1"})
	if !strings.Contains(err.Error(), "1 app of other tenants") {
		t.Errorf("got %v", err)
	}
	settings := w.app("app_b").Settings
	settings.Nodes = []gestor.NodeID{"nod_b"}
	w.as(bob).must(command.UpdateApp{ID: "app_b", Settings: settings})
	w.must(command.CreateTask{Task: gestor.Task{ID: "tsk_b", Kind: gestor.TaskDetect, NodeID: "nod_1", AppID: "app_b", Timeout: time.Minute}})
	lease := w.as(system).must(command.LeaseTask{ID: "tsk_b", Node: "nod_1"})
	w.as(olga).refuses(fault.KindConflict, command.ShareNode{ID: "nod_1"})
	w.as(system).must(command.FinishTask{ID: "tsk_b", Fence: lease.Revision, Outcome: gestor.TaskSucceeded})
	w.as(olga).must(command.ShareNode{ID: "nod_1"})
	w.as(bob).refuses(fault.KindNotFound, command.CreateTask{Task: gestor.Task{ID: "tsk_c", Kind: gestor.TaskDetect, NodeID: "nod_1", Timeout: time.Minute}})
}

func TestDedicateNode_MovesItToAnotherTenantUnlessItsNameIsTaken(t *testing.T) {
	w := tenantsWorld(t)
	w.as(olga)
	w.must(command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_c", Name: "Charlie", Plan: gestor.PlanFree}})
	w.refuses(fault.KindConflict, command.ShareNode{ID: "nod_1", Owner: "ten_c"}) // ten_a's shop is on it
	w.refuses(fault.KindExists, command.ShareNode{ID: "nod_b", Owner: "ten_a"})   // both are called web1
	w.refuses(fault.KindNotFound, command.ShareNode{ID: "nod_b", Owner: "ten_never"})
	w.must(command.ShareNode{ID: "nod_b", Owner: "ten_c"})
	if n := w.node("nod_b"); n.TenantID != "ten_c" || n.Shared {
		t.Errorf("got %+v", n)
	}
	w.as(bob).refuses(fault.KindNotFound, command.SetNodeDraining{ID: "nod_b"})
}

func TestNodeNames_AreUniqueAmongTheNodesOfATenantOnly(t *testing.T) {
	w := tenantsWorld(t) // in which nod_1 and nod_b are both web1
	w.as(olga).must(command.ShareNode{ID: "nod_1", Shared: true})
	token := newToken("join_c", "nod_c", "web1")
	token.TenantID = "ten_b"
	w.as(bob).refuses(fault.KindExists, command.CreateJoinToken{Token: token})
	w.as(olga).must(command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_c", Name: "Charlie", Plan: gestor.PlanFree}})
	token.TenantID = "ten_c"
	w.as(gestor.Actor{Kind: "user", ID: "usr_c", TenantID: "ten_c"}).must(command.CreateJoinToken{Token: token})
}

func TestPurgeTenant_ForgetsItsNodesButLeavesThoseThatOthersShare(t *testing.T) {
	w := tenantsWorld(t)
	own := newToken("join_o", "nod_o", "own")
	own.TenantID = "ten_b"
	w.must(command.CreateJoinToken{Token: own})
	w.as(system).must(command.EnrollNode{TokenID: "join_o", SecretHash: secret, SPKI: hashOf("ko")})
	w.as(olga).must(command.ShareNode{ID: "nod_b", Shared: true})
	w.must(command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusTrash})
	w.now = start.Add(gestor.TrashTime)
	w.must(command.PurgeTenant{ID: "ten_b"})
	if _, err := w.view().Node(t.Context(), "nod_o"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("the dedicated node is still there: %v", err)
	}
	if n := w.node("nod_b"); n.TenantID != "ten_a" || n.Name != "web1-2" {
		t.Errorf("the shared node went to %s as %s", n.TenantID, n.Name)
	}
}
