package fsm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// protectionStory is the part of the golden story that tells of protected environments.
func protectionStory() []command.Command {
	var out []command.Command
	tell := func(actor gestor.Actor, op command.Op) {
		actor.Action = "golden"
		out = append(out, command.Command{At: start.Add(time.Hour), Actor: actor, Op: op})
	}
	tell(alice, command.UpdateProtection{Protection: gestor.Protection{
		Environment: "production", RequireApproval: true, Approvals: 1, Freezes: []gestor.Freeze{blackFriday()},
	}})
	tell(system, command.CreateDeployment{ID: "dep_p", AppID: "app_1", ReleaseID: "rel_1"})
	tell(system, command.AdvanceDeployment{ID: "dep_p", From: "building", To: "preparing"})
	tell(system, command.HoldDeployment{ID: "dep_p", Waiting: "waits for people", Approval: true})
	tell(alice, command.ApproveDeployment{ID: "dep_p", Comment: "good"})
	tell(alice, command.OverrideFreeze{ID: "dep_p", Reason: "it cannot wait"})
	tell(alice, command.RejectDeployment{ID: "dep_p", Comment: "not good after all"})
	tell(system, command.AdvanceDeployment{ID: "dep_p", From: "preparing", To: "cancelled"})
	return out
}

func blackFriday() gestor.Freeze {
	return gestor.Freeze{Name: "Black Friday", TimeZone: "America/Sao_Paulo", From: "2026-11-27", To: "2026-11-30 08:00"}
}

// protect sets the protection of an environment, as the founder.
func (w *world) protect(environment string, approvals int, freezes ...gestor.Freeze) {
	w.t.Helper()
	w.by("usr_a").must(command.UpdateProtection{Protection: gestor.Protection{
		Environment: environment, RequireApproval: approvals > 0, Approvals: approvals, Freezes: freezes,
	}})
}

// prepared is a deployment of app_1 that a person asked for and that is about to switch.
func (w *world) prepared(name string, by gestor.UserID) gestor.DeploymentID {
	w.t.Helper()
	return w.by(by).deploy(name, gestor.DeploymentPreparing)
}

// switches proposes the switch, as the deploy loop does.
func (w *world) switches(id gestor.DeploymentID) error {
	w.t.Helper()
	w.actor = system
	return w.do(command.AdvanceDeployment{ID: id, From: "preparing", To: "switching"}).Err
}

func (w *world) approvals(id gestor.DeploymentID) []gestor.Approval {
	w.t.Helper()
	all, err := w.view().Approvals(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestSwitch_NeedsTheApprovalsOfOtherPeople(t *testing.T) {
	w := peopled(t)
	w.protect("production", 2)
	id := w.prepared("1", "usr_devops")
	if err := w.switches(id); err == nil || !strings.Contains(err.Error(), "0 of 2") {
		t.Fatalf("without approvals: %v", err)
	}
	w.by("usr_devops").refuses(fault.KindDenied, command.ApproveDeployment{ID: id})
	w.by("usr_viewer").refuses(fault.KindDenied, command.ApproveDeployment{ID: id})
	w.by("usr_narrow").refuses(fault.KindNotFound, command.ApproveDeployment{ID: id})
	w.by("usr_other").refuses(fault.KindNotFound, command.ApproveDeployment{ID: id})
	w.by("usr_admin").must(command.ApproveDeployment{ID: id, Comment: "good"})
	before := w.deployment(id).Revision
	w.by("usr_admin").must(command.ApproveDeployment{ID: id}) // again
	if got := w.approvals(id); len(got) != 1 || got[0].Comment != "good" || w.deployment(id).Revision != before {
		t.Errorf("approving again changed something: %+v", got)
	}
	if err := w.switches(id); err == nil {
		t.Fatal("it switched with one of two approvals")
	}
	w.by("usr_a").must(command.ApproveDeployment{ID: id})
	if err := w.switches(id); err != nil {
		t.Errorf("approved: %v", err)
	}
	w.by("usr_a").must(command.ApproveDeployment{ID: id}) // late, and known
}

// Whoever asks through a token is the person who made it, and so is whoever approves.
func TestApprove_TakesTokensForThePeopleWhoMadeThem(t *testing.T) {
	person := func(id string) gestor.Actor {
		return gestor.Actor{Kind: "user", ID: "usr_" + id, Name: id + "@example.com", TenantID: "ten_a"}
	}
	personal := func(id string) gestor.Actor {
		return gestor.Actor{Kind: "token", ID: "usr_" + id, Name: id + "@example.com", TenantID: "ten_a", TokenID: gestor.TokenID("tkn_usr_" + id)}
	}
	service := func(id string) gestor.Actor {
		return gestor.Actor{Kind: "token", ID: "tkn_" + id, Name: "ci", TenantID: "ten_a", TokenID: gestor.TokenID("tkn_" + id)}
	}
	for name, c := range map[string]struct {
		asks, approves gestor.Actor
		counts         bool
	}{
		"oneself":                              {person("admin"), person("admin"), false},
		"the own personal token":               {person("admin"), personal("admin"), false},
		"oneself, having asked by token":       {personal("admin"), person("admin"), false},
		"the own service token":                {person("admin"), service("ci_admin"), false},
		"oneself, having asked by a service":   {service("ci_admin"), person("admin"), false},
		"two service tokens of one person":     {service("ci_admin"), service("cd_admin"), false},
		"a service and a personal token":       {service("ci_admin"), personal("admin"), false},
		"another person":                       {person("admin"), person("devops"), true},
		"another person's personal token":      {person("admin"), personal("devops"), true},
		"another person's service token":       {person("devops"), service("ci_admin"), true},
		"a person, asked by another's service": {service("ci_admin"), person("devops"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := peopled(t)
			for _, token := range []string{"ci_admin", "cd_admin"} {
				w.put(func(ctx context.Context, x *state.Txn) error {
					return x.PutToken(ctx, gestor.Token{
						ID: gestor.TokenID("tkn_" + token), TenantID: "ten_a", Kind: gestor.TokenService, UserID: "usr_admin",
						Role: gestor.RoleDevOps, Name: token, Hash: hashOf(token),
					})
				})
			}
			w.protect("production", 1)
			w.actor = c.asks
			id := w.deploy("1", gestor.DeploymentPreparing)
			w.actor = c.approves
			if err := w.do(command.ApproveDeployment{ID: id}).Err; (err == nil) != c.counts {
				t.Errorf("the approval was answered with %v", err)
			}
			if err := w.switches(id); (err == nil) != c.counts {
				t.Errorf("the switch was answered with %v", err)
			}
		})
	}
}

func TestApprove_CountsOnlyWhileThePersonMayApprove(t *testing.T) {
	for name, ends := range map[string]command.Op{
		"blocked":  status("usr_devops", gestor.StatusBlocked),
		"demoted":  role("usr_devops", gestor.RoleViewer),
		"narrowed": narrowed("usr_devops", "staging"),
		"deleted":  command.DeleteUser{ID: "usr_devops"},
	} {
		w := peopled(t)
		w.protect("production", 1)
		id := w.prepared("1", "usr_a")
		w.by("usr_devops").must(command.ApproveDeployment{ID: id})
		w.by("usr_a").must(ends)
		if err := w.switches(id); err == nil {
			t.Errorf("it switched with the approval of a person who was %s", name)
		}
	}
}

func TestApprove_WaitsForWhatIsToBeApproved(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	b := newBuild("bld_1", "app_1")
	w.by("usr_a").must(command.CreateDeployment{ID: "dep_1", AppID: "app_1", Build: &b, NewReleaseID: "rel_1"})
	w.by("usr_devops").refuses(fault.KindConflict, command.ApproveDeployment{ID: "dep_1"})
}

func TestApprove_IsVoidOnceSomethingElseWouldGoLive(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	id := w.prepared("1", "usr_a")
	w.by("usr_devops").must(command.ApproveDeployment{ID: id})
	w.put(func(ctx context.Context, x *state.Txn) error { // nothing does that; were it done, nobody would have approved it
		d := w.deployment(id)
		d.EnvVersion++
		return x.PutDeployment(ctx, d)
	})
	if err := w.switches(id); err == nil {
		t.Fatal("it switched with other variables than were approved")
	}
	w.by("usr_devops").must(command.ApproveDeployment{ID: id})
	if err := w.switches(id); err != nil {
		t.Errorf("approved anew: %v", err)
	}
}

func TestProtection_CountsAsItIsBeforeTheSwitch(t *testing.T) {
	w := peopled(t)
	on := w.prepared("1", "usr_a")
	w.protect("production", 1)
	if err := w.switches(on); err == nil {
		t.Error("a protection that was switched on later does not hold what waits")
	}
	w.protect("production", 0)
	if err := w.switches(on); err != nil {
		t.Errorf("a protection that was switched off holds what waits: %v", err)
	}
}

func TestProtection_OfAnotherEnvironmentOrTenantHoldsNothing(t *testing.T) {
	w := peopled(t)
	w.protect("staging", 3)
	w.by("usr_other").must(command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: true}})
	if err := w.switches(w.prepared("1", "usr_a")); err != nil {
		t.Error(err)
	}
}

func TestSwitch_ChecksThatFreezesWereJudgedByThePresentProtection(t *testing.T) {
	w := peopled(t)
	w.protect("production", 0, blackFriday())
	id := w.prepared("1", "usr_a")
	p, err := w.view().Protection(t.Context(), "ten_a", "production")
	if err != nil {
		t.Fatal(err)
	}
	judged := fmt.Sprintf("production@%d", p.Revision)
	w.actor = system
	to := command.AdvanceDeployment{ID: id, From: "preparing", To: "switching", JudgedBy: judged, ClearUntil: w.now.Add(time.Hour)}
	stale, none, late := to, to, to
	stale.JudgedBy, none.JudgedBy, late.ClearUntil = fmt.Sprintf("production@%d", p.Revision-1), "", w.now
	for _, op := range []command.AdvanceDeployment{stale, none, late} {
		w.refuses(fault.KindConflict, op)
	}
	w.must(to)
}

func TestSwitch_CannotBeSmuggledIntoAnEarlierState(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	id := w.prepared("1", "usr_a")
	w.actor = system
	w.refuses(fault.KindConflict, command.AdvanceDeployment{
		ID: id, From: "preparing", To: "preparing", Tasks: []command.CreateTask{newTask("tsk_s", gestor.TaskSwitch)},
	})
}

func TestReject_EndsItAndSaysWhoAndWhy(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	id := w.prepared("1", "usr_a")
	w.by("usr_devops").must(command.RejectDeployment{ID: id, Comment: "not on a Friday"})
	w.must(command.RejectDeployment{ID: id, Comment: "again"})
	d := w.deployment(id)
	if !d.Cancelling || !strings.Contains(d.Error, "usr_devops: not on a Friday") {
		t.Errorf("got %v %q", d.Cancelling, d.Error)
	}
	w.by("usr_admin").refuses(fault.KindConflict, command.ApproveDeployment{ID: id})
	w.actor = system
	w.must(command.AdvanceDeployment{ID: id, From: "preparing", To: "cancelled"})
	if d := w.deployment(id); d.Error == "" || w.app("app_1").ActiveDeployment != "" {
		t.Errorf("got %+v", d)
	}
	late := w.deploy("2", gestor.DeploymentPreparing)
	w.by("usr_devops").must(command.ApproveDeployment{ID: late})
	if err := w.switches(late); err != nil {
		t.Fatal(err)
	}
	w.by("usr_devops").refuses(fault.KindConflict, command.RejectDeployment{ID: late, Comment: "too late"})
}

func TestHold_AsksForApprovalOnceAndTellsOfIt(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	id := w.prepared("1", "usr_a")
	w.actor = system
	w.must(command.HoldDeployment{ID: id, Waiting: "waits", Approval: true})
	asked := w.deployment(id).ApprovalAskedAt
	w.now = w.now.Add(time.Hour)
	w.must(command.HoldDeployment{ID: id, Waiting: "waits and is frozen", Approval: true})
	if d := w.deployment(id); !d.ApprovalAskedAt.Equal(asked) || d.Waiting != "waits and is frozen" {
		t.Errorf("got %s, %q", d.ApprovalAskedAt, d.Waiting)
	}
	events, _, err := w.view().Events(t.Context(), state.EventFilter{}, gestor.Page{})
	if err != nil {
		t.Fatal(err)
	}
	waiting := slices.DeleteFunc(events, func(e gestor.Event) bool { return e.Kind != gestor.EventDeploymentWaiting })
	if len(waiting) != 1 || waiting[0].AppID != "app_1" || waiting[0].TenantID != "ten_a" || !strings.Contains(waiting[0].Title, "shop") {
		t.Errorf("the events are %+v", waiting)
	}
	w.must(command.HoldDeployment{ID: id, Waiting: "is frozen"})
	if d := w.deployment(id); !d.ApprovalAskedAt.IsZero() {
		t.Errorf("it is said to wait for approvals since %s", d.ApprovalAskedAt)
	}
	w.must(command.AdvanceDeployment{ID: id, From: "preparing", To: "cancelled"})
	if d := w.deployment(id); d.Waiting != "" {
		t.Errorf("it has ended and waits: %q", d.Waiting)
	}
	w.refuses(fault.KindConflict, command.HoldDeployment{ID: id, Waiting: "waits"})
}

func TestOverrideFreeze_IsOfOneDeploymentAndNoApproval(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1, blackFriday())
	id := w.prepared("1", "usr_devops")
	w.by("usr_a").must(command.OverrideFreeze{ID: id, Reason: "the shop is down"})
	w.by("usr_admin").must(command.OverrideFreeze{ID: id, Reason: "me too"})
	if o := w.deployment(id).Override; o.UserID != "usr_a" || o.Reason != "the shop is down" {
		t.Errorf("got %+v", o)
	}
	if err := w.switches(id); err == nil {
		t.Error("an override took the place of an approval")
	}
	w.by("usr_admin").must(command.ApproveDeployment{ID: id})
	if err := w.switches(id); err != nil {
		t.Error(err)
	}
}

// settings are those of app_1 in an environment.
func settings(environment string) gestor.AppSettings {
	s := newApp("app_1", "shop", "nod_1").Settings
	s.Environment = environment
	return s
}

func TestApp_LeavesAProtectedEnvironmentOnlyByThoseWhoCouldLiftTheProtection(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	w.by("usr_devops").refuses(fault.KindDenied, command.UpdateApp{ID: "app_1", Settings: settings("staging")})
	w.must(command.UpdateApp{ID: "app_1", Settings: settings("production")})
	w.by("usr_a").must(command.UpdateApp{ID: "app_1", Settings: settings("staging"), MayUnprotect: true})
	w.by("usr_devops").must(command.UpdateApp{ID: "app_1", Settings: settings("production")})
}

func TestApp_ThatIsMovedWhileItIsDeployedMustSatisfyBothEnvironments(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	out := w.prepared("1", "usr_a")
	w.by("usr_a").must(command.UpdateApp{ID: "app_1", Settings: settings("staging"), MayUnprotect: true})
	if err := w.switches(out); err == nil {
		t.Error("what was made for production switched because the app was moved")
	}
	w.must(command.AdvanceDeployment{ID: out, From: "preparing", To: "cancelled"})
	in := w.prepared("2", "usr_a")
	w.by("usr_a").must(command.UpdateApp{ID: "app_1", Settings: settings("production")})
	if err := w.switches(in); err == nil {
		t.Error("what was made for staging switched in production")
	}
	w.by("usr_devops").must(command.ApproveDeployment{ID: in})
	if err := w.switches(in); err != nil {
		t.Error(err)
	}
}

func TestRollback_GoesAtOnceOnlyToWhatWasLiveThere(t *testing.T) {
	back := func(release gestor.ReleaseID) command.CreateDeployment {
		return command.CreateDeployment{ID: "dep_back", AppID: "app_1", ReleaseID: release, Rollback: true, AllowBad: true}
	}
	for name, c := range map[string]struct {
		before  func(w *world)
		release gestor.ReleaseID
		atOnce  bool
	}{
		"to what was live": {func(*world) {}, "rel_1", true},
		"after a change of where it runs": {func(w *world) {
			s := settings("production")
			s.Branch = "other"
			w.must(command.UpdateApp{ID: "app_1", Settings: s})
		}, "rel_1", true},
		"with settings that were never live": {func(w *world) {
			s := settings("production")
			s.PostSwitch = "curl evil"
			w.must(command.UpdateApp{ID: "app_1", Settings: s})
		}, "rel_1", false},
		"to what was rejected": {func(w *world) {
			id := w.deploy("3", gestor.DeploymentPreparing)
			w.actor = system
			w.must(command.AdvanceDeployment{ID: id, From: "preparing", To: "cancelled"})
		}, "rel_3", false},
		"to what was live in staging alone": {func(w *world) {
			w.must(command.UpdateApp{ID: "app_1", Settings: settings("staging"), MayUnprotect: true})
			w.deploy("3", live...)
			w.must(command.UpdateApp{ID: "app_1", Settings: settings("production")})
			w.protect("production", 0)
			w.deploy("4", live...)
			w.protect("production", 1)
		}, "rel_3", false},
		"where rollbacks wait too": {func(w *world) {
			w.must(command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: true, RollbackNeedsApproval: true}})
		}, "rel_1", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := peopled(t)
			w.by("usr_a").deploy("1", live...)
			w.deploy("2", live...)
			w.protect("production", 1)
			c.before(w)
			w.by("usr_a").must(back(c.release))
			w.must(command.AdvanceDeployment{ID: "dep_back", From: "building", To: "preparing"})
			if err := w.switches("dep_back"); (err == nil) != c.atOnce {
				t.Errorf("the switch was answered with %v", err)
			}
		})
	}
}

func TestUpdateProtection_RefusesWhatWasChangedMeanwhile(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	p, err := w.view().Protection(t.Context(), "ten_a", "production")
	if err != nil {
		t.Fatal(err)
	}
	w.protect("production", 2)
	w.refuses(fault.KindConflict, command.UpdateProtection{Protection: p, ExpectedRevision: p.Revision})
}

func TestProtection_GoesWithTheAppAndNeedsItsLevel(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	id := w.prepared("1", "usr_a")
	w.by("usr_devops").must(command.ApproveDeployment{ID: id})
	w.actor = system
	w.must(command.AdvanceDeployment{ID: id, From: "preparing", To: "cancelled"})
	w.must(command.DeleteApp{ID: "app_1"})
	w.must(command.ForgetApp{ID: "app_1"})
	if got := w.approvals(id); len(got) > 0 {
		t.Errorf("the app is gone, its approvals are not: %+v", got)
	}
	old := emptyWorld(t)
	old.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: 1})
	old.refuses(fault.KindConflict, command.UpdateProtection{Protection: gestor.Protection{Environment: "production"}})
}

// required is what the environments of a deployment ask of it now.
func (w *world) required(d gestor.Deployment) int {
	most := 0
	for _, environment := range []string{d.Settings.WithDefaults().Environment, w.app(d.AppID).Settings.WithDefaults().Environment} {
		p, err := w.view().Protection(w.t.Context(), d.TenantID, environment)
		if err != nil {
			w.t.Fatal(err)
		}
		if p.RequireApproval {
			most = max(most, p.Approvals)
		}
	}
	return most
}

// valid counts the people among those who approved who may do so now.
func (w *world) valid(d gestor.Deployment, approved map[gestor.UserID]bool) int {
	n := 0
	for id := range approved {
		u, err := w.view().User(w.t.Context(), id)
		if err != nil || u.Status != "active" || u.Role != "admin" && u.Role != "devops" || id == d.AskedBy {
			continue
		}
		made, now := d.Settings.WithDefaults().Environment, w.app(d.AppID).Settings.WithDefaults().Environment
		if e := u.Narrow.Environments; len(e) == 0 || slices.Contains(e, made) && slices.Contains(e, now) {
			n++
		}
	}
	return n
}

// Whatever people do, in whatever order: nothing switches without the approvals that are required at that moment.
func TestSwitch_NeverHappensWithoutTheApprovalsRequiredAtThatMoment(t *testing.T) {
	fewer(t, "40")
	people := []gestor.UserID{"usr_a", "usr_admin", "usr_devops", "usr_viewer", "usr_narrow"}
	environments := []string{"staging", "production"}
	switched := 0
	rapid.Check(t, func(r *rapid.T) {
		w := peopled(t)
		defer func() { _ = w.store.Close() }()
		approved := map[gestor.UserID]bool{}
		var id gestor.DeploymentID
		for step := range rapid.IntRange(5, 60).Draw(r, "steps") {
			actor := rapid.SampledFrom(people).Draw(r, "who")
			if _, err := w.view().User(t.Context(), actor); err != nil {
				continue
			}
			w.by(actor)
			environment := rapid.SampledFrom(environments).Draw(r, "environment")
			other := rapid.SampledFrom(people[1:]).Draw(r, "whom")
			switch rapid.IntRange(0, 9).Draw(r, "what") {
			case 0:
				n := rapid.IntRange(0, 2).Draw(r, "approvals")
				w.do(command.UpdateProtection{Protection: gestor.Protection{Environment: environment, RequireApproval: n > 0, Approvals: n}})
			case 1:
				w.do(command.UpdateApp{ID: "app_1", Settings: settings(environment), MayUnprotect: rapid.Bool().Draw(r, "may")})
			case 2:
				w.by("usr_a").do(role(other, rapid.SampledFrom([]gestor.Role{"admin", "devops", "viewer"}).Draw(r, "role")))
			case 3:
				w.by("usr_a").do(status(other, rapid.SampledFrom([]string{"active", "active", "blocked"}).Draw(r, "status")))
			case 4:
				w.by("usr_a").do(narrowed(other, environments[:rapid.IntRange(0, 2).Draw(r, "narrow")]...))
			case 5, 6:
				if w.do(command.ApproveDeployment{ID: id}).Err == nil {
					approved[actor] = true
				}
			default:
				id = w.moveOn(t, r, fmt.Sprint(step), id, approved, &switched)
			}
		}
	})
	if switched == 0 {
		t.Error("nothing ever switched, so nothing was shown")
	}
}

// moveOn makes a deployment if none is under way, or tries to switch it and holds the outcome against the rules.
func (w *world) moveOn(t *testing.T, r *rapid.T, name string, id gestor.DeploymentID, approved map[gestor.UserID]bool, switched *int) gestor.DeploymentID {
	t.Helper()
	if w.app("app_1").ActiveDeployment == "" {
		clear(approved)
		return w.deploy(name, gestor.DeploymentPreparing)
	}
	d := w.deployment(id)
	want, have := w.required(d), w.valid(d, approved)
	err := w.switches(id)
	if (err == nil) != (have >= want) {
		r.Fatalf("%d of %d approvals (%v, asked by %s): %v", have, want, approved, d.AskedBy, err)
	}
	if err != nil {
		return id
	}
	*switched++
	w.must(command.AdvanceDeployment{ID: id, From: "switching", To: "watching"})
	w.must(command.AdvanceDeployment{ID: id, From: "watching", To: "succeeded"})
	return id
}
