package fsm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// olga is the operator of the installation, whose home is ten_a.
var olga = gestor.Actor{Kind: "user", ID: "usr_a", Name: "olga", TenantID: "ten_a", Operator: true}

// bob is an admin of the customer ten_b.
var bob = gestor.Actor{Kind: "user", ID: "usr_b", Name: "bob", TenantID: "ten_b"}

// tenantsWorld is newWorld with the customer ten_b on the free plan, its admin usr_b and its node nod_b ("web1").
func tenantsWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.actor = olga
	w.must(command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_b", Name: "Bravo", Plan: gestor.PlanFree}})
	w.put(func(ctx context.Context, x *state.Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_b", TenantID: "ten_b", Email: "b@example.com", Role: gestor.RoleAdmin, Status: gestor.StatusActive})
	})
	token := newToken("join_b", "nod_b", "web1")
	token.TenantID = "ten_b"
	w.actor = system
	w.must(command.CreateJoinToken{Token: token})
	w.must(command.EnrollNode{TokenID: "join_b", SecretHash: secret, SPKI: hashOf("kb")})
	w.actor = bob
	return w
}

// put writes into the state past the machine, as an entry of its own.
func (w *world) put(write func(ctx context.Context, x *state.Txn) error) {
	w.t.Helper()
	x, err := w.store.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.index++
	x.Revision = w.index
	if err := write(w.t.Context(), x); err != nil {
		w.t.Fatal(err)
	}
	if err := x.Commit(w.t.Context(), w.index); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) as(a gestor.Actor) *world {
	w.actor = a
	return w
}

func (w *world) tenant(id gestor.TenantID) gestor.Tenant {
	w.t.Helper()
	t, err := w.view().Tenant(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func TestTenantOps_AreForOperatorsAndTheSystem(t *testing.T) {
	w := tenantsWorld(t)
	plan := gestor.PlanPro
	for _, op := range []command.Op{
		command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_c", Name: "C", Plan: gestor.PlanFree}},
		command.UpdateTenant{ID: "ten_b", Plan: &plan},
		command.UpdateTenant{ID: "ten_b", Quotas: &gestor.Quotas{Apps: -1}},
		command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusSuspended},
		command.RestoreTenant{ID: "ten_b"},
		command.PurgeTenant{ID: "ten_b"},
		command.ShareNode{ID: "nod_b", Shared: true},
	} {
		w.refuses(fault.KindDenied, op)
	}
	name := "mine now"
	w.refuses(fault.KindNotFound, command.UpdateTenant{ID: "ten_a", Name: &name})
}

func TestUpdateTenant_ChangesWhatIsGivenAndTellsTheAuditLogOfTheTenant(t *testing.T) {
	w := tenantsWorld(t)
	actor := olga
	actor.Action = "tenant.update"
	name, plan := "Bravo Ltd", gestor.PlanPro
	w.as(actor).must(command.UpdateTenant{ID: "ten_b", Name: &name, Plan: &plan, Quotas: &gestor.Quotas{Apps: 7}})
	got := w.tenant("ten_b")
	if got.Name != name || got.Plan != plan || got.Limits() != (gestor.Quotas{Apps: 7, Databases: 25, StorageBytes: 200 << 30}) {
		t.Errorf("got %+v with limits %+v", got, got.Limits())
	}
	factor := true
	w.as(bob).must(command.UpdateTenant{ID: "ten_b", SecondFactor: &factor})
	if got = w.tenant("ten_b"); !got.SecondFactor || got.Name != name {
		t.Errorf("got %+v", got)
	}
	entries, _, err := w.store.View(gestor.TenantScope("ten_b")).AuditEntries(t.Context(), gestor.Page{})
	if err != nil || len(entries) == 0 || entries[0].Object != "ten_b" {
		t.Errorf("the tenant's audit log holds %+v (%v)", entries, err)
	}
}

func TestCreateApp_IsBoundedByTheTenantsQuota(t *testing.T) {
	w := tenantsWorld(t)
	for _, slug := range []string{"one", "two", "three"} {
		w.must(command.CreateApp{App: newApp(gestor.AppID("app_"+slug), slug)})
	}
	err := w.refusal(fault.KindConflict, command.CreateApp{App: newApp("app_four", "four")})
	if text := err.Error(); !strings.Contains(text, "may have 3 apps and has 3") || !strings.Contains(text, "operator") {
		t.Errorf("the refusal names neither limit, use nor a way out: %v", err)
	}
	w.must(command.DeleteApp{ID: "app_one"}) // what is on its way out does not count
	w.must(command.CreateApp{App: newApp("app_four", "four")})
	w.as(olga).must(command.UpdateTenant{ID: "ten_b", Quotas: &gestor.Quotas{Apps: gestor.Unlimited}})
	w.as(bob).must(command.CreateApp{App: newApp("app_five", "five")})
	w.as(olga).must(command.UpdateTenant{ID: "ten_b", Quotas: &gestor.Quotas{Apps: 1}})
	w.as(bob).refuses(fault.KindConflict, command.CreateApp{App: newApp("app_six", "six")})
	w.must(command.UpdateEnv{AppID: "app_five", Set: map[string][]byte{"A": []byte("x")}}) // what is there stays usable
}

func TestFits_BoundsDatabasesAndStorageToo(t *testing.T) {
	w := tenantsWorld(t)
	x, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Rollback(context.Background()) }()
	c := &change{Txn: x, ctx: t.Context(), actor: bob}
	if err := c.fits("ten_b", gestor.ResourceDatabases, 1); err != nil {
		t.Errorf("the first database is refused: %v", err)
	}
	if err := c.fits("ten_b", gestor.ResourceDatabases, 2); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("two databases on a plan with one: %v", err)
	}
	err = c.fits("ten_b", gestor.ResourceStorage, 2<<30)
	if fault.KindOf(err) != fault.KindConflict || !strings.Contains(err.Error(), "may store 1 GiB and uses 0 B, so 2 GiB more") {
		t.Errorf("got %v", err)
	}
}

func TestSuspendedTenant_ChangesNothingButItsSessions(t *testing.T) {
	w := tenantsWorld(t)
	w.must(command.CreateApp{App: newApp("app_b", "bravo", "nod_b")})
	token := newToken("join_late", "nod_late", "late")
	token.TenantID = "ten_b"
	w.must(command.CreateJoinToken{Token: token})
	session := gestor.Session{ID: "ses_b", UserID: "usr_b", TokenHash: hashOf("s1"), ExpiresAt: start.Add(time.Hour)}
	w.must(command.CreateSession{Session: session})
	for _, status := range []string{gestor.StatusSuspended, gestor.StatusCancelled} {
		w.as(olga).must(command.SetTenantStatus{ID: "ten_b", Status: status, Reason: "unpaid"})
		w.as(bob)
		for _, op := range []command.Op{
			command.CreateApp{App: newApp("app_c", "charlie")},
			command.UpdateEnv{AppID: "app_b", Set: map[string][]byte{"A": []byte("x")}},
			command.DeleteApp{ID: "app_b"},
			command.SetNodeDraining{ID: "nod_b", Draining: true},
			newTask("tsk_1", gestor.TaskDetect),
		} {
			if err := w.refusal(fault.KindDenied, op); !strings.Contains(err.Error(), "unpaid") {
				t.Errorf("the refusal does not say why: %v", err)
			}
		}
		w.as(system).refuses(fault.KindDenied, command.EnrollNode{TokenID: "join_late", SecretHash: secret, SPKI: hashOf("late")})
		w.as(bob)
		again := session
		again.ID, again.TokenHash = gestor.SessionID("ses_"+status), hashOf(status)
		w.must(command.CreateSession{Session: again})
		w.must(command.DeleteSession{ID: again.ID})
		// What runs goes on: agents and leader loops are not people, and operators act for the installation.
		w.as(gestor.Actor{Kind: "agent", ID: "nod_b", TenantID: "ten_b"}).must(command.RenewNode{ID: "nod_b", Generation: w.node("nod_b").Generation})
		w.as(olga).must(command.SetNodeDraining{ID: "nod_b"})
	}
	w.as(olga).must(command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusActive})
	w.as(bob).must(command.UpdateEnv{AppID: "app_b", Set: map[string][]byte{"A": []byte("x")}})
	if got := w.tenant("ten_b"); got.Reason != "" {
		t.Errorf("an active tenant keeps the reason %q", got.Reason)
	}
}

func (w *world) node(id gestor.NodeID) gestor.Node {
	w.t.Helper()
	n, err := w.view().Node(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestSuspendedTenant_GetsNoNewWorkFromLoopsAndFinishesWhatHasBegun(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	w.as(olga).must(command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_o", Name: "Ops", Plan: gestor.PlanEnterprise}})
	w.put(func(ctx context.Context, x *state.Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_o", TenantID: "ten_o", Email: "o@example.com", Status: gestor.StatusActive, Operator: true})
	})
	b := newBuild("bld_2", "app_1")
	w.as(alice).must(command.CreateDeployment{ID: "dep_2", AppID: "app_1", Build: &b, NewReleaseID: "rel_2"})
	w.as(olga).must(command.SetTenantStatus{ID: "ten_a", Status: gestor.StatusSuspended, Reason: "unpaid"})
	w.as(system)
	w.refuses(fault.KindDenied, newBuild("bld_3", "app_1"))
	w.finish(b.Task.ID, gestor.TaskSucceeded, builtResult(t))
	w.must(command.AdvanceDeployment{ID: "dep_2", From: "building", To: "preparing"})
	w.must(command.AdvanceDeployment{ID: "dep_2", From: "preparing", To: "failed", Error: "x"})
	w.refuses(fault.KindDenied, command.CreateDeployment{ID: "dep_3", AppID: "app_1", ReleaseID: "rel_1"})
}

func TestDeletedTenant_SignsNobodyInAndComesBackAsItWas(t *testing.T) {
	for _, before := range []string{gestor.StatusActive, gestor.StatusSuspended, gestor.StatusCancelled} {
		w := tenantsWorld(t)
		w.as(olga)
		if before != gestor.StatusActive {
			w.must(command.SetTenantStatus{ID: "ten_b", Status: before, Reason: "unpaid"})
		}
		was := w.tenant("ten_b")
		w.must(command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusTrash, Reason: "asked for"})
		w.refuses(fault.KindConflict, command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusActive})
		w.as(bob).refuses(fault.KindDenied, command.CreateSession{Session: gestor.Session{ID: "ses_b", UserID: "usr_b", TokenHash: hashOf("s")}})
		w.now = start.Add(gestor.TrashTime - time.Nanosecond)
		w.as(olga).must(command.RestoreTenant{ID: "ten_b"})
		if got := w.tenant("ten_b"); got != was {
			t.Errorf("restored %+v, it was %+v", got, was)
		}
		w.refuses(fault.KindConflict, command.RestoreTenant{ID: "ten_b"})
	}
}

func TestRestoreTenant_IsTooLateAfterSevenDays(t *testing.T) {
	w := tenantsWorld(t)
	w.as(olga).must(command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusTrash})
	w.refuses(fault.KindConflict, command.PurgeTenant{ID: "ten_b"})
	w.now = start.Add(gestor.TrashTime)
	w.refuses(fault.KindConflict, command.RestoreTenant{ID: "ten_b"})
}

func TestOperators_CannotTakeAwayTheHomeOfTheLast(t *testing.T) {
	w := tenantsWorld(t)
	w.as(olga)
	for _, status := range []string{gestor.StatusSuspended, gestor.StatusCancelled, gestor.StatusTrash} {
		if err := w.refusal(fault.KindConflict, command.SetTenantStatus{ID: "ten_a", Status: status}); !strings.Contains(err.Error(), "last operator") {
			t.Errorf("got %v", err)
		}
	}
	w.put(func(ctx context.Context, x *state.Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_b", TenantID: "ten_b", Email: "b@example.com", Status: gestor.StatusBlocked, Operator: true})
	})
	w.refuses(fault.KindConflict, command.SetTenantStatus{ID: "ten_a", Status: gestor.StatusSuspended})
	w.put(func(ctx context.Context, x *state.Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_b", TenantID: "ten_b", Email: "b@example.com", Status: gestor.StatusActive, Operator: true})
	})
	w.must(command.SetTenantStatus{ID: "ten_a", Status: gestor.StatusSuspended})
	w.refuses(fault.KindConflict, command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusTrash})
}

func TestQuotasAndStatus_BindNothingInAStateOfTheFirstLevel(t *testing.T) {
	w := emptyWorld(t)
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: 1})
	for _, op := range founding()[1:] {
		w.must(op)
	}
	if plan := w.tenant("ten_a").Plan; plan != "free" {
		t.Errorf("the first tenant has plan %s", plan)
	}
	w.as(alice)
	for _, slug := range []string{"a", "b", "c", "d", "e"} {
		w.must(command.CreateApp{App: newApp(gestor.AppID("app_"+slug), slug, "nod_1")})
	}
	w.as(olga).refuses(fault.KindConflict, command.SetTenantStatus{ID: "ten_a", Status: gestor.StatusSuspended})
	w.as(system).must(command.RaiseLevel{Level: 2})
	if got := w.tenant("ten_a"); got.Plan != gestor.PlanEnterprise || got.Limits().Apps != gestor.Unlimited {
		t.Errorf("who was there before quotas has got limits: %+v", got)
	}
	w.as(alice).must(command.CreateApp{App: newApp("app_f", "f", "nod_1")})
}

// tenantStory is the part of the golden story that tells of tenants and of what they share.
func tenantStory() []command.Command {
	name := "Zulu Ltd"
	var out []command.Command
	tell := func(at time.Time, op command.Op) {
		actor := olga
		actor.Action = "golden"
		out = append(out, command.Command{At: at, Actor: actor, Op: op})
	}
	tell(start, command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_z", Name: "Zulu", Plan: gestor.PlanBasic}})
	tell(start, command.UpdateTenant{ID: "ten_z", Name: &name, Quotas: &gestor.Quotas{Apps: 4, StorageBytes: gestor.Unlimited}})
	tell(start, command.ShareNode{ID: "nod_1", Shared: true})
	tell(start, command.ShareNode{ID: "nod_1"})
	tell(start, command.SetTenantStatus{ID: "ten_z", Status: gestor.StatusSuspended, Reason: "unpaid"})
	tell(start, command.SetTenantStatus{ID: "ten_z", Status: gestor.StatusTrash})
	tell(start.Add(time.Hour), command.RestoreTenant{ID: "ten_z"})
	tell(start.Add(time.Hour), command.SetTenantStatus{ID: "ten_z", Status: gestor.StatusTrash})
	tell(start.Add(time.Hour+gestor.TrashTime), command.PurgeTenant{ID: "ten_z"})
	return out
}
