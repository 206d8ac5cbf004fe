package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestApply_ReturnsTheFirstReceiptForARepeatedRequest(t *testing.T) {
	w := newWorld(t)
	c := command.Command{RequestID: "r1", At: w.now, Actor: alice, Op: command.CreateApp{App: newApp("app_2", "blog", "nod_1")}}
	first := w.apply(c)[0]
	c.Op = command.CreateApp{App: newApp("app_3", "blog", "nod_1")}
	again := w.apply(c)[0]
	if first.Err != nil || again != first || again.Receipt.Object != "app_2" {
		t.Errorf("first %+v, again %+v", first, again)
	}
}

func TestApply_ReturnsTheFirstRefusalForARepeatedRequest(t *testing.T) {
	w := newWorld(t)
	taken := command.Command{RequestID: "r1", At: w.now, Actor: alice, Op: command.CreateApp{App: newApp("app_2", "shop")}}
	first := w.apply(taken)[0].Err
	again := w.apply(command.Command{RequestID: "r1", At: w.now, Actor: alice, Op: command.DeleteApp{ID: "app_1"}})[0].Err
	if first == nil || again == nil || first.Error() != again.Error() || fault.KindOf(again) != fault.KindExists {
		t.Errorf("first %v, again %v", first, again)
	}
	if w.app("app_1").Status == gestor.AppDeleting {
		t.Error("the repeated request was applied")
	}
}

func TestApply_KeepsRequestIDsOfTenantsApart(t *testing.T) {
	w := newWorld(t)
	w.apply(command.Command{RequestID: "r1", At: w.now, Actor: system, Op: command.SetNodeDraining{ID: "nod_1", Draining: true}})
	r := w.apply(command.Command{RequestID: "r1", At: w.now, Actor: alice, Op: command.SetNodeDraining{ID: "nod_1"}})[0]
	if n, err := w.view().Node(t.Context(), "nod_1"); err != nil || n.Draining || r.Err != nil {
		t.Errorf("another tenant's request id was taken for ours: %+v %v %v", n, r.Err, err)
	}
}

func TestApply_RefusesOneCommandAndKeepsItsNeighbours(t *testing.T) {
	w := newWorld(t)
	results := w.apply(
		command.Command{At: w.now, Actor: alice, Op: command.CreateApp{App: newApp("app_2", "blog", "nod_1")}},
		command.Command{At: w.now, Actor: alice, Op: command.CreateApp{App: newApp("app_3", "blog", "nod_1")}},
		command.Command{At: w.now, Actor: alice, Op: command.CreateApp{App: newApp("app_4", "news", "nod_1")}},
	)
	if results[0].Err != nil || results[1].Err == nil || results[2].Err != nil {
		t.Fatalf("got %v", results)
	}
	if a, b := w.app("app_2"), w.app("app_4"); a.UID == b.UID || b.Revision != w.index {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestApply_AuditsActionsWithoutSecrets(t *testing.T) {
	w := newWorld(t)
	actor := alice
	actor.Action = "app.env"
	w.apply(command.Command{At: w.now, Actor: actor, Op: command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"KEY": []byte("hunter2")}}})
	actor.Action = "app.delete"
	w.apply(command.Command{At: w.now, Actor: actor, Op: command.DeleteApp{ID: "app_9"}})
	entries, _, err := w.store.View(gestor.TenantScope("ten_a")).AuditEntries(t.Context(), gestor.Page{})
	if err != nil || len(entries) != 2 {
		t.Fatalf("got %v, %v", entries, err)
	}
	if refused, env := entries[0], entries[1]; !strings.Contains(refused.Detail, "refused") || env.Object != "app_1" ||
		!strings.Contains(env.Detail, "KEY") || strings.Contains(env.Detail, "hunter2") {
		t.Errorf("got %+v", entries)
	}
}

func TestApply_StopsAtAnEntryItCannotDecode(t *testing.T) {
	w := emptyWorld(t)
	unknownOp := []byte{0x0a, 0x03, 0x92, 0x3f, 0x00} // a command with op number 1010
	for _, data := range [][]byte{{0xff, 0xff}, unknownOp} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("entry %x was applied", data)
				}
			}()
			w.fsm.Apply([]Entry{{Index: 1, Data: data}})
		}()
	}
}

func TestClaim_WorksOnceWithTheRightSecret(t *testing.T) {
	w := emptyWorld(t)
	claim := command.Claim{SetupHash: secret, TenantID: "ten_a", UserID: "usr_a", Email: "a@example.com"}
	w.refuses(fault.KindUnavailable, claim)
	w.must(founding()[0])
	w.refuses(fault.KindExists, founding()[0])
	wrong := claim
	wrong.SetupHash = hashOf("guess")
	w.refuses(fault.KindUnauthenticated, wrong)
	w.must(claim)
	w.refuses(fault.KindConflict, claim)
	u, err := w.view().UserByEmail(t.Context(), "a@example.com")
	if err != nil || u.Role != gestor.RoleAdmin || u.TenantID != "ten_a" {
		t.Errorf("got %+v, %v", u, err)
	}
}

func TestEnrollNode_TellsNothingOfWhatIsWrongWithAToken(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateJoinToken{Token: newToken("join_2", "nod_2", "web2")})
	w.actor = system
	unknown := w.refusal(fault.KindUnauthenticated, command.EnrollNode{TokenID: "join_9", SecretHash: secret, SPKI: hashOf("k2")})
	wrong := w.refusal(fault.KindUnauthenticated, command.EnrollNode{TokenID: "join_2", SecretHash: hashOf("x"), SPKI: hashOf("k2")})
	if unknown.Error() != wrong.Error() {
		t.Errorf("an unknown token reads %q, a wrong secret %q", unknown, wrong)
	}
	right := command.EnrollNode{TokenID: "join_2", SecretHash: secret, SPKI: hashOf("k2")}
	w.must(right)
	w.must(right)
	other := right
	other.SPKI = hashOf("k3")
	w.refuses(fault.KindConflict, other)
}

func TestEnrollNode_RefusesAnExpiredTokenAndATakenName(t *testing.T) {
	w := newWorld(t)
	w.refuses(fault.KindExists, command.CreateJoinToken{Token: newToken("join_3", "nod_3", "web1")})
	w.must(command.CreateJoinToken{Token: newToken("join_2", "nod_2", "web2")})
	w.must(command.CreateJoinToken{Token: newToken("join_3", "nod_3", "web2")})
	w.must(command.EnrollNode{TokenID: "join_2", SecretHash: secret, SPKI: hashOf("k2")})
	w.refuses(fault.KindExists, command.EnrollNode{TokenID: "join_3", SecretHash: secret, SPKI: hashOf("k3")})
	w.must(command.CreateJoinToken{Token: newToken("join_4", "nod_4", "web4")})
	w.now = start.Add(time.Hour)
	w.refuses(fault.KindUnauthenticated, command.EnrollNode{TokenID: "join_4", SecretHash: secret, SPKI: hashOf("k4")})
}

func TestRenewNode_RefusesAClonedDisk(t *testing.T) {
	w := newWorld(t)
	w.must(command.RenewNode{ID: "nod_1", Generation: 1})
	w.refuses(fault.KindConflict, command.RenewNode{ID: "nod_1", Generation: 1})
}

func TestCreateApp_RefusesTakenNamesForeignNodesAndClashingAddresses(t *testing.T) {
	w := newWorld(t)
	w.refuses(fault.KindExists, command.CreateApp{App: newApp("app_2", "shop")})
	w.refuses(fault.KindInvalid, command.CreateApp{App: newApp("app_2", "blog", "nod_9")})
	same := newApp("app_2", "blog", "nod_1")
	same.Settings.Domains = []string{"blog.example.com", "shop.example.com"}
	err := w.refusal(fault.KindConflict, command.CreateApp{App: same})
	if !strings.Contains(err.Error(), "app shop") {
		t.Errorf("the refusal does not name the app: %v", err)
	}
	same.Settings.Port = 8080
	w.must(command.CreateApp{App: same})
}

func TestCreateApp_NeverGivesAUIDTwice(t *testing.T) {
	w := newWorld(t)
	first := w.app("app_1").UID
	w.must(command.DeleteApp{ID: "app_1"})
	w.must(command.ForgetApp{ID: "app_1"})
	w.must(command.CreateApp{App: newApp("app_1", "shop", "nod_1")})
	if again := w.app("app_1").UID; first != 70000 || again != 70001 {
		t.Errorf("got uids %d and %d", first, again)
	}
}

func TestUpdateApp_RefusesAStaleRevision(t *testing.T) {
	w := newWorld(t)
	a := w.app("app_1")
	w.must(command.UpdateApp{ID: "app_1", Settings: a.Settings, ExpectedRevision: a.Revision})
	w.refuses(fault.KindConflict, command.UpdateApp{ID: "app_1", Settings: a.Settings, ExpectedRevision: a.Revision})
}

func TestForgetApp_TakesEverythingOfTheAppAlong(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": []byte("x")}})
	w.refuses(fault.KindConflict, command.ForgetApp{ID: "app_1"})
	w.must(command.DeleteApp{ID: "app_1", Tasks: []command.CreateTask{newTask("tsk_rm", gestor.TaskRemove)}})
	w.refuses(fault.KindConflict, command.ForgetApp{ID: "app_1"})
	w.finish("tsk_rm", gestor.TaskSucceeded, nil)
	w.must(command.ForgetApp{ID: "app_1"})
	env, err := w.view().Env(t.Context(), "app_1")
	tasks, _, err2 := w.view().Tasks(t.Context(), stateFilter("app_1"), gestor.Page{})
	builds, _, err3 := w.view().BuildsByApp(t.Context(), "app_1", gestor.Page{})
	if err != nil || err2 != nil || err3 != nil || len(env)+len(tasks)+len(builds) != 0 {
		t.Errorf("left: %v %v %v (%v %v %v)", env, tasks, builds, err, err2, err3)
	}
}

func TestActor_CannotTouchAnotherTenantsThings(t *testing.T) {
	w := newWorld(t)
	w.actor = gestor.Actor{Kind: "user", ID: "usr_b", TenantID: "ten_b"}
	for _, op := range []command.Op{
		command.DeleteApp{ID: "app_1"},
		command.UpdateEnv{AppID: "app_1", Unset: []string{"A"}},
		command.SetNodeDraining{ID: "nod_1", Draining: true},
		command.DeleteNode{ID: "nod_1"},
		newBuild("bld_1", "app_1"),
		newTask("tsk_1", gestor.TaskDetect),
		command.CreateDeployment{ID: "dep_1", AppID: "app_1", BuildID: "bld_1", NewReleaseID: "rel_1"},
	} {
		w.refuses(fault.KindNotFound, op)
	}
}
