package servertest_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/servertest"
)

// tenantsOf is the service of tenants for whom a client is signed in as.
func tenantsOf(c *servertest.Client) gestorv1connect.TenantServiceClient {
	return gestorv1connect.NewTenantServiceClient(c.HTTP, c.URL, c.Options()...)
}

// newTenant makes a tenant as the operator does, with an administrator who has come in, and returns its id and their token.
func newTenant(t *testing.T, c *servertest.Cluster, name, email string) (id, token string) {
	t.Helper()
	made, err := tenantsOf(c.Any()).CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{Name: name})
	if err != nil {
		t.Fatalf("create tenant: %v", err)
	}
	id = made.GetTenant().GetId()
	res, err := c.Any().Invitations().InviteAdministrator(t.Context(), &gestorv1.InviteAdministratorRequest{TenantId: id, Email: email, ShowLink: true})
	if err != nil {
		t.Fatalf("invite its administrator: %v", err)
	}
	_, secret, _ := strings.Cut(res.GetLink().GetLink(), "/invite#")
	s := c.Servers[0]
	if _, err := anybody(c, s).Invitations().AcceptInvitation(t.Context(), &gestorv1.AcceptInvitationRequest{Secret: secret, Password: biasPassword}); err != nil {
		t.Fatalf("accept: %v", err)
	}
	if token, err = signIn(t, c, s, email, biasPassword); err != nil {
		t.Fatalf("sign in: %v", err)
	}
	return id, token
}

func TestTenant_WorksOnASharedNodeIsSuspendedAndDeletedAndComesBack(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	id, token := newTenant(t, c, "Acme", "bia@acme.example")
	bia := c.Access(c.Servers[0], servertest.Access{Token: token, Seen: &rpc.Revision{}})
	detect := &gestorv1.DetectAppRequest{Repository: "https://git.example/shop.git"}
	c.FakeAgent("web1", servertest.Succeed)
	if _, err := bia.Apps().DetectApp(t.Context(), detect); fault.KindOf(err) != fault.KindConflict {
		t.Fatalf("a tenant without nodes looks into a repository: %v", err)
	}

	if _, err := c.Any().Nodes().ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "web1"}); err != nil {
		t.Fatal(err)
	}
	looked, err := bia.Apps().DetectApp(t.Context(), detect)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := bia.Tasks().WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: looked.GetTaskId()})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	var task *gestorv1.Task
	for watch.Receive() {
		task = watch.Msg().GetTask()
	}
	if task.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED || task.GetNodeName() != "web1" {
		t.Errorf("the shared node left %v (%v)", task, watch.Err())
	}
	if _, err := c.Any().Tasks().GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: looked.GetTaskId()}); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("the owner of the node sees another tenant's task: %v", err)
	}

	operator := tenantsOf(c.Any())
	if _, err := operator.SuspendTenant(t.Context(), &gestorv1.SuspendTenantRequest{Tenant: id, Reason: "unpaid"}); err != nil {
		t.Fatal(err)
	}
	if _, err := bia.Apps().DetectApp(t.Context(), detect); fault.KindOf(err) != fault.KindDenied || !strings.Contains(err.Error(), "unpaid") {
		t.Errorf("a suspended tenant begins something: %v", err)
	}
	own, err := tenantsOf(bia).GetOwnTenant(t.Context(), &gestorv1.GetOwnTenantRequest{})
	if err != nil || own.GetTenant().GetReason() != "unpaid" {
		t.Errorf("a suspended tenant reads %v, %v", own, err)
	}
	if _, err := operator.DeleteTenant(t.Context(), &gestorv1.DeleteTenantRequest{Tenant: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, c, c.Servers[0], "bia@acme.example", biasPassword); err == nil {
		t.Error("somebody of a deleted tenant signs in")
	}
	if _, err := tenantsOf(bia).GetOwnTenant(t.Context(), &gestorv1.GetOwnTenantRequest{}); err == nil {
		t.Error("a session of a deleted tenant goes on")
	}
	back, err := operator.RestoreTenant(t.Context(), &gestorv1.RestoreTenantRequest{Tenant: id})
	if err != nil || back.GetTenant().GetStatus() != gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED {
		t.Errorf("got %v, %v", back, err)
	}
	if _, err := signIn(t, c, c.Servers[0], "bia@acme.example", biasPassword); err != nil {
		t.Errorf("after the restore: %v", err)
	}
}

func TestTenant_OfTheLastOperatorStays(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	operator := tenantsOf(c.Any())
	own, err := operator.GetOwnTenant(t.Context(), &gestorv1.GetOwnTenantRequest{})
	if err != nil {
		t.Fatal(err)
	}
	id := own.GetTenant().GetId()
	_, suspend := operator.SuspendTenant(t.Context(), &gestorv1.SuspendTenantRequest{Tenant: id, Reason: "x"})
	_, cancel := operator.CancelTenant(t.Context(), &gestorv1.CancelTenantRequest{Tenant: id})
	_, remove := operator.DeleteTenant(t.Context(), &gestorv1.DeleteTenantRequest{Tenant: id})
	for _, err := range []error{suspend, cancel, remove} {
		if fault.KindOf(err) != fault.KindConflict {
			t.Errorf("got %v", err)
		}
	}
}
