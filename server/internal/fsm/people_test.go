package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func newInvitation(id gestor.InvitationID, email string, role gestor.Role) gestor.Invitation {
	return gestor.Invitation{
		ID: id, TenantID: "ten_a", Email: email, Role: role, SecretHash: hashOf(string(id)), ExpiresAt: start.Add(24 * time.Hour),
	}
}

// peopled is a world in which ten_a has, besides its founder usr_a, people of every sort with a session and a personal token
// each, and ten_b has an administrator usr_other.
func peopled(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.add(gestor.User{ID: "usr_admin", Role: gestor.RoleAdmin})
	w.add(gestor.User{ID: "usr_devops", Role: gestor.RoleDevOps})
	w.add(gestor.User{ID: "usr_viewer", Role: gestor.RoleViewer})
	w.add(gestor.User{ID: "usr_narrow", Role: gestor.RoleAdmin, Narrow: gestor.Narrowing{Environments: []string{"staging"}}})
	w.add(gestor.User{ID: "usr_other", TenantID: "ten_b", Role: gestor.RoleAdmin})
	return w
}

// add writes a user with a session and a personal token, and a tenant for one that has none yet.
func (w *world) add(u gestor.User) {
	w.t.Helper()
	ctx := w.t.Context()
	if u.TenantID == "" {
		u.TenantID = "ten_a"
	}
	if u.Status == "" {
		u.Status = gestor.StatusActive
	}
	u.Email, u.PasswordHash = strings.TrimPrefix(string(u.ID), "usr_")+"@example.com", "$argon2id$"
	x, err := w.store.Begin(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, err := range []error{
		x.PutTenant(ctx, gestor.Tenant{ID: u.TenantID, Name: string(u.TenantID), Plan: "pro", Status: gestor.StatusActive}),
		x.PutUser(ctx, u),
		x.PutSession(ctx, gestor.Session{ID: gestor.SessionID("ses_" + u.ID), UserID: u.ID, TenantID: u.TenantID, TokenHash: hashOf("s" + string(u.ID))}),
		x.PutToken(ctx, gestor.Token{
			ID: gestor.TokenID("tkn_" + u.ID), UserID: u.ID, TenantID: u.TenantID, Kind: gestor.TokenPersonal, Hash: hashOf("t" + string(u.ID)),
		}),
		x.Commit(ctx, w.index),
	} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// by makes a user the actor.
func (w *world) by(id gestor.UserID) *world {
	w.t.Helper()
	w.actor = gestor.Actor{Kind: "user", ID: string(id), Name: string(id), TenantID: w.user(id).TenantID}
	return w
}

func (w *world) user(id gestor.UserID) gestor.User {
	w.t.Helper()
	u, err := w.view().User(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// access says which of a user's session and token are there.
func (w *world) access(id gestor.UserID) (session, token bool) {
	w.t.Helper()
	_, noSession := w.view().Session(w.t.Context(), gestor.SessionID("ses_"+id))
	_, noToken := w.view().Token(w.t.Context(), gestor.TokenID("tkn_"+id))
	return noSession == nil, noToken == nil
}

func role(id gestor.UserID, r gestor.Role) command.UpdateUser {
	return command.UpdateUser{ID: id, Role: &r}
}

func status(id gestor.UserID, s string) command.UpdateUser {
	return command.UpdateUser{ID: id, Status: &s}
}

func operator(id gestor.UserID, is bool) command.UpdateUser {
	return command.UpdateUser{ID: id, Operator: &is}
}

func narrowed(id gestor.UserID, environments ...string) command.UpdateUser {
	return command.UpdateUser{ID: id, Narrow: &gestor.Narrowing{Environments: environments}}
}

func TestUpdateUser_LetsNobodyGiveMoreThanTheyHave(t *testing.T) {
	production := gestor.Narrowing{Environments: []string{"production"}}
	for name, try := range map[string]struct {
		by gestor.UserID
		op command.Op
	}{
		"an admin makes an operator":            {"usr_admin", operator("usr_viewer", true)},
		"an admin makes oneself an operator":    {"usr_admin", operator("usr_admin", true)},
		"devops makes an admin":                 {"usr_devops", role("usr_viewer", gestor.RoleAdmin)},
		"devops promotes oneself":               {"usr_devops", role("usr_devops", gestor.RoleAdmin)},
		"a viewer promotes oneself":             {"usr_viewer", role("usr_viewer", gestor.RoleDeveloper)},
		"who is narrowed widens oneself":        {"usr_narrow", narrowed("usr_narrow")},
		"who is narrowed moves oneself":         {"usr_narrow", narrowed("usr_narrow", "production")},
		"who is narrowed widens another":        {"usr_narrow", command.UpdateUser{ID: "usr_viewer", Narrow: &production}},
		"who is narrowed blocks who is not":     {"usr_narrow", status("usr_viewer", gestor.StatusBlocked)},
		"an admin blocks an operator":           {"usr_admin", status("usr_a", gestor.StatusBlocked)},
		"an admin demotes an operator":          {"usr_admin", role("usr_a", gestor.RoleViewer)},
		"an admin takes the mark off":           {"usr_admin", operator("usr_a", false)},
		"an admin removes an operator":          {"usr_admin", command.DeleteUser{ID: "usr_a"}},
		"an admin takes an operator's password": {"usr_admin", command.ResetUserPassword{ID: "usr_a"}},
		"devops takes an admin's password":      {"usr_devops", command.ResetUserPassword{ID: "usr_admin"}},
		"who is narrowed takes a password":      {"usr_narrow", command.ResetUserPassword{ID: "usr_viewer"}},
		"who is narrowed removes who is not":    {"usr_narrow", command.DeleteUser{ID: "usr_viewer"}},
		"devops invites an admin":               {"usr_devops", command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleAdmin)}},
		"who is narrowed invites who is not":    {"usr_narrow", command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleViewer)}},
		"an admin invites an operator": {"usr_admin", command.CreateInvitation{Invitation: func() gestor.Invitation {
			i := newInvitation("inv_1", "x@example.com", gestor.RoleViewer)
			i.Operator = true
			return i
		}()}},
		"an admin invites into another tenant": {"usr_admin", command.CreateInvitation{Invitation: func() gestor.Invitation {
			i := newInvitation("inv_1", "x@example.com", gestor.RoleAdmin)
			i.TenantID = "ten_b"
			return i
		}()}},
		"an operator without the mark on the request": {"usr_a", command.CreateInvitation{Invitation: func() gestor.Invitation {
			i := newInvitation("inv_1", "x@example.com", gestor.RoleAdmin)
			i.TenantID = "ten_b"
			return i
		}()}},
	} {
		t.Run(name, func(t *testing.T) { peopled(t).by(try.by).refuses(fault.KindDenied, try.op) })
	}
}

func TestUpdateUser_ReadsWhatTheActorHasNowNotWhenTheyAsked(t *testing.T) {
	w := peopled(t).by("usr_a")
	w.must(role("usr_admin", gestor.RoleViewer))
	w.by("usr_admin").refuses(fault.KindDenied, role("usr_viewer", gestor.RoleDeveloper))
	w.by("usr_a").must(role("usr_admin", gestor.RoleAdmin))
	w.must(status("usr_admin", gestor.StatusBlocked))
	w.by("usr_admin").refuses(fault.KindDenied, role("usr_viewer", gestor.RoleDeveloper))
	w.by("usr_a").must(command.DeleteUser{ID: "usr_admin"})
	w.actor.ID = "usr_admin"
	w.refuses(fault.KindDenied, role("usr_viewer", gestor.RoleDeveloper))
}

func TestUpdateUser_GivesATokenWhatUserAndTokenBothHave(t *testing.T) {
	w := peopled(t).by("usr_admin")
	x, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	staging := gestor.Narrowing{Environments: []string{"staging"}}
	for _, err := range []error{
		x.PutToken(t.Context(), gestor.Token{ID: "tkn_s", TenantID: "ten_a", Kind: gestor.TokenService, Role: gestor.RoleDevOps, UserID: "usr_admin", Hash: hashOf("s")}),
		x.PutToken(t.Context(), gestor.Token{ID: "tkn_p", TenantID: "ten_a", Kind: gestor.TokenPersonal, UserID: "usr_admin", Narrow: staging, Hash: hashOf("p")}),
		x.Commit(t.Context(), w.index),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.actor.Kind, w.actor.TokenID = "token", "tkn_s"
	w.refuses(fault.KindDenied, role("usr_viewer", gestor.RoleAdmin))
	w.must(role("usr_viewer", gestor.RoleDevOps))
	w.actor.TokenID = "tkn_p"
	w.refuses(fault.KindDenied, role("usr_viewer", gestor.RoleViewer))
	w.actor.TokenID = "tkn_gone"
	w.refuses(fault.KindDenied, role("usr_viewer", gestor.RoleViewer))
}

func TestUpdateUser_KnowsNobodyOfAnotherTenant(t *testing.T) {
	for _, op := range []command.Op{
		role("usr_other", gestor.RoleViewer), command.DeleteUser{ID: "usr_other"}, command.ResetUserPassword{ID: "usr_other"},
	} {
		w := peopled(t).by("usr_a")
		w.refuses(fault.KindNotFound, op)
		w.actor.Operator = true // an operator manages tenants, not the people in them
		w.refuses(fault.KindNotFound, op)
	}
}

func TestUpdateUser_KeepsTheLastAdministratorAndTheLastOperator(t *testing.T) {
	for name, op := range map[string]command.Op{
		"demoted": role("usr_a", gestor.RoleDevOps), "blocked": status("usr_a", gestor.StatusBlocked), "inactive": status("usr_a", gestor.StatusInactive),
		"narrowed": narrowed("usr_a", "staging"), "removed": command.DeleteUser{ID: "usr_a"}, "unmarked": operator("usr_a", false),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(gestor.User{ID: "usr_narrow", Role: gestor.RoleAdmin, Narrow: gestor.Narrowing{Environments: []string{"staging"}}})
			w.add(gestor.User{ID: "usr_away", Role: gestor.RoleAdmin, Status: gestor.StatusInactive, Operator: true})
			w.add(gestor.User{ID: "usr_other", TenantID: "ten_b", Role: gestor.RoleAdmin})
			w.by("usr_a").refuses(fault.KindConflict, op)
			w.actor = system
			w.refuses(fault.KindConflict, op)
		})
	}
}

func TestUpdateUser_OfTwoAdministratorsWhoDemoteEachOtherAtOnceOneStays(t *testing.T) {
	w := newWorld(t)
	w.add(gestor.User{ID: "usr_b", Role: gestor.RoleAdmin, Operator: true})
	by := func(id gestor.UserID, op command.Op) command.Command {
		return command.Command{At: w.now, Actor: gestor.Actor{Kind: "user", ID: string(id), TenantID: "ten_a"}, Op: op}
	}
	got := w.apply(by("usr_a", status("usr_b", gestor.StatusBlocked)), by("usr_b", status("usr_a", gestor.StatusBlocked)))
	if got[0].Err != nil || got[1].Err == nil {
		t.Fatalf("got %v and %v", got[0].Err, got[1].Err)
	}
	w.by("usr_a").must(status("usr_b", gestor.StatusActive))
	got = w.apply(by("usr_a", role("usr_a", gestor.RoleViewer)), by("usr_b", role("usr_b", gestor.RoleViewer)))
	if got[0].Err != nil || fault.KindOf(got[1].Err) != fault.KindConflict {
		t.Fatalf("got %v and %v", got[0].Err, got[1].Err)
	}
}

func TestUpdateUser_EndsSessionsAndPersonalTokensOfWhoMayNotSignIn(t *testing.T) {
	for _, s := range []string{gestor.StatusBlocked, gestor.StatusInactive} {
		w := peopled(t).by("usr_admin")
		w.must(role("usr_devops", gestor.RoleViewer))
		if session, token := w.access("usr_devops"); !session || !token {
			t.Error("a demotion signed somebody out")
		}
		w.must(status("usr_devops", s))
		if session, token := w.access("usr_devops"); session || token {
			t.Errorf("%s: session %v, token %v", s, session, token)
		}
		if session, token := w.access("usr_viewer"); !session || !token {
			t.Errorf("%s: somebody else was signed out", s)
		}
	}
}

func TestUpdateUser_RefusesWhatIsNoUser(t *testing.T) {
	w := peopled(t).by("usr_a")
	apps := func(ids ...gestor.AppID) command.Op {
		return command.UpdateUser{ID: "usr_viewer", Narrow: &gestor.Narrowing{Apps: ids}}
	}
	w.refuses(fault.KindInvalid, role("usr_viewer", "root"))
	w.refuses(fault.KindInvalid, role("usr_viewer", ""))
	w.refuses(fault.KindInvalid, status("usr_viewer", "gone"))
	w.refuses(fault.KindInvalid, narrowed("usr_viewer", "moon"))
	w.refuses(fault.KindInvalid, apps("app_1", "app_none"))
	w.must(apps("app_1"))
	if u := w.user("usr_viewer"); len(u.Narrow.Apps) != 1 || u.Role != gestor.RoleViewer {
		t.Errorf("got %+v", u)
	}
}

func TestUpdateUser_LetsEverybodyNameThemselvesAndNobodyElse(t *testing.T) {
	w := peopled(t).by("usr_viewer")
	name := "Vera"
	w.must(command.UpdateUser{ID: "usr_viewer", Name: &name})
	if got := w.user("usr_viewer").Name; got != name {
		t.Errorf("got %q", got)
	}
	w.refuses(fault.KindDenied, command.UpdateUser{ID: "usr_admin", Name: &name})
}

func TestDeleteUser_TakesAllThatOpensTheDoor(t *testing.T) {
	w := peopled(t).by("usr_admin")
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleAdmin)})
	w.by("usr_a").must(command.DeleteUser{ID: "usr_admin"})
	if session, token := w.access("usr_admin"); session || token {
		t.Errorf("session %v, token %v", session, token)
	}
	w.actor = gestor.Actor{Kind: "anonymous"}
	w.refuses(fault.KindUnauthenticated, command.AcceptInvitation{SecretHash: hashOf("inv_1"), UserID: "usr_x", PasswordHash: "p"})
}

func TestInvitation_IsWorthNothingOnceWhoMadeItHasLess(t *testing.T) {
	for name, op := range map[string]command.Op{
		"demoted": role("usr_admin", gestor.RoleDevOps), "blocked": status("usr_admin", gestor.StatusBlocked), "narrowed": narrowed("usr_admin", "staging"),
	} {
		t.Run(name, func(t *testing.T) {
			w := peopled(t).by("usr_admin")
			w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleAdmin)})
			w.by("usr_a").must(command.UpdateUser{ID: "usr_admin", Operator: new(true)})
			w.must(operator("usr_admin", false)) // it came and went: that is less, too
			w.by("usr_admin").must(command.CreateInvitation{Invitation: newInvitation("inv_2", "y@example.com", gestor.RoleAdmin)})
			w.by("usr_a").must(op)
			if _, err := w.view().Invitation(t.Context(), "inv_2"); fault.KindOf(err) != fault.KindNotFound {
				t.Errorf("the invitation of who has less now is there: %v", err)
			}
		})
	}
}

func TestAcceptInvitation_MakesTheInvitedOnce(t *testing.T) {
	w := peopled(t).by("usr_a")
	i := newInvitation("inv_1", "bia@example.com", gestor.RoleDeveloper)
	i.Operator, i.Narrow = true, gestor.Narrowing{Environments: []string{"staging"}}
	w.must(command.CreateInvitation{Invitation: i})
	w.actor = gestor.Actor{Kind: "anonymous"}
	accept := command.AcceptInvitation{SecretHash: i.SecretHash, UserID: "usr_bia", Name: "Bia", PasswordHash: "$argon2id$bia"}
	wrong := accept
	wrong.SecretHash = hashOf("wrong")
	unknown := w.refusal(fault.KindUnauthenticated, wrong)
	w.now = i.ExpiresAt
	late := w.refusal(fault.KindUnauthenticated, accept)
	w.now = start
	w.must(accept)
	accept.UserID = "usr_again"
	used := w.refusal(fault.KindUnauthenticated, accept)
	if unknown.Error() != late.Error() || late.Error() != used.Error() {
		t.Errorf("%q, %q and %q tell one reason from another", unknown, late, used)
	}
	u := w.user("usr_bia")
	if u.TenantID != "ten_a" || u.Email != i.Email || u.Role != i.Role || !u.Operator || u.Narrow.IsZero() || u.Status != gestor.StatusActive || u.Name != "Bia" ||
		!u.EmailVerifiedAt.IsZero() || !u.PasswordSetAt.Equal(start) {
		t.Errorf("got %+v", u)
	}
}

func TestAcceptInvitation_OfTwoAtOnceOneGetsIn(t *testing.T) {
	w := peopled(t).by("usr_a")
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "bia@example.com", gestor.RoleViewer)})
	accept := func(id gestor.UserID) command.Command {
		return command.Command{At: w.now, Op: command.AcceptInvitation{SecretHash: hashOf("inv_1"), UserID: id, PasswordHash: "p"}}
	}
	got := w.apply(accept("usr_1"), accept("usr_2"))
	if got[0].Err != nil || fault.KindOf(got[1].Err) != fault.KindUnauthenticated {
		t.Errorf("got %v and %v", got[0].Err, got[1].Err)
	}
}

func TestAcceptInvitation_ProvesTheAddressOnlyIfTheLinkWasMailed(t *testing.T) {
	w := peopled(t).by("usr_a")
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "bia@example.com", gestor.RoleViewer)})
	w.must(command.RenewInvitation{ID: "inv_1", SecretHash: hashOf("mailed"), ExpiresAt: start.Add(time.Hour), Mailed: true})
	w.refuses(fault.KindUnauthenticated, command.AcceptInvitation{SecretHash: hashOf("inv_1"), UserID: "usr_b", PasswordHash: "p"})
	w.must(command.AcceptInvitation{SecretHash: hashOf("mailed"), UserID: "usr_b", PasswordHash: "p"})
	if w.user("usr_b").EmailVerifiedAt.IsZero() {
		t.Error("the address is not verified")
	}
}

func TestCreateInvitation_RefusesWhoIsThereAlready(t *testing.T) {
	w := peopled(t).by("usr_a")
	here := w.refusal(fault.KindExists, command.CreateInvitation{Invitation: newInvitation("inv_1", "viewer@example.com", gestor.RoleViewer)})
	elsewhere := w.refusal(fault.KindExists, command.CreateInvitation{Invitation: newInvitation("inv_1", "other@example.com", gestor.RoleViewer)})
	if strings.ReplaceAll(here.Error(), "viewer", "other") != elsewhere.Error() {
		t.Errorf("%q and %q tell where the address is known", here, elsewhere)
	}
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleViewer)})
	w.refuses(fault.KindExists, command.CreateInvitation{Invitation: newInvitation("inv_2", "x@example.com", gestor.RoleViewer)})
	w.now = start.Add(25 * time.Hour)
	again := newInvitation("inv_2", "x@example.com", gestor.RoleViewer)
	again.ExpiresAt = w.now.Add(time.Hour)
	w.must(command.CreateInvitation{Invitation: again}) // the first one has ended
	again.ID, again.Email, again.ExpiresAt = "inv_3", "y@example.com", w.now.Add(31*24*time.Hour)
	w.refuses(fault.KindInvalid, command.CreateInvitation{Invitation: again})
	again.ExpiresAt = w.now
	w.refuses(fault.KindInvalid, command.CreateInvitation{Invitation: again})
}

func TestCreateInvitation_LetsOperatorsInviteTheFirstAdministratorAlone(t *testing.T) {
	w := peopled(t).by("usr_a")
	first := newInvitation("inv_1", "boss@example.com", gestor.RoleAdmin)
	first.TenantID = "ten_b"
	w.actor.Operator = true
	w.refuses(fault.KindConflict, command.CreateInvitation{Invitation: first}) // usr_other is there
	w.actor = system
	x, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.DeleteUser(t.Context(), "usr_other"); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(t.Context(), w.index); err != nil {
		t.Fatal(err)
	}
	w.by("usr_a").actor.Operator = true
	for _, change := range []func(*gestor.Invitation){
		func(i *gestor.Invitation) { i.Role = gestor.RoleViewer },
		func(i *gestor.Invitation) { i.Operator = true },
		func(i *gestor.Invitation) { i.Narrow.Environments = []string{"staging"} },
	} {
		other := first
		change(&other)
		w.refuses(fault.KindDenied, command.CreateInvitation{Invitation: other})
	}
	w.must(command.CreateInvitation{Invitation: first})
	first.ID, first.SecretHash = "inv_2", hashOf("inv_2")
	w.must(command.CreateInvitation{Invitation: first}) // in place of the first one
	w.refuses(fault.KindUnauthenticated, command.AcceptInvitation{SecretHash: hashOf("inv_1"), UserID: "usr_boss", PasswordHash: "p"})
	w.must(command.AcceptInvitation{SecretHash: hashOf("inv_2"), UserID: "usr_boss", PasswordHash: "p"})
	w.refuses(fault.KindConflict, command.CreateInvitation{Invitation: func() gestor.Invitation { i := first; i.Email = "me@example.com"; return i }()})
}

func TestCreateInvitation_IsBounded(t *testing.T) {
	w := peopled(t).by("usr_a")
	for n := range gestor.MostInvitations {
		id := string(rune('a'+n%26)) + strings.Repeat("x", n/26)
		w.must(command.CreateInvitation{Invitation: newInvitation(gestor.InvitationID("inv_"+id), "guest-"+id+"@example.com", gestor.RoleViewer)})
	}
	w.refuses(fault.KindExhausted, command.CreateInvitation{Invitation: newInvitation("inv_more", "more@example.com", gestor.RoleViewer)})
}

func TestRevokeInvitation_ReachesTheOwnTenantAlone(t *testing.T) {
	w := peopled(t).by("usr_a")
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleViewer)})
	w.by("usr_other").must(command.RevokeInvitation{ID: "inv_1"}) // there is none for them, which is fine
	w.refuses(fault.KindNotFound, command.RenewInvitation{ID: "inv_1", SecretHash: hashOf("x"), ExpiresAt: start.Add(time.Hour)})
	w.by("usr_a").must(command.RenewInvitation{ID: "inv_1", SecretHash: hashOf("x"), ExpiresAt: start.Add(time.Hour)})
	w.must(command.RevokeInvitation{ID: "inv_1"})
	w.refuses(fault.KindUnauthenticated, command.AcceptInvitation{SecretHash: hashOf("x"), UserID: "usr_x", PasswordHash: "p"})
}

func TestSetPassword_WorksOnceForTheCredentialsItWasMadeFor(t *testing.T) {
	w := peopled(t)
	w.actor = gestor.Actor{Kind: "anonymous"}
	stamp := w.user("usr_viewer").Stamp()
	set := command.SetPassword{UserID: "usr_viewer", PasswordHash: "$argon2id$new", Stamp: stamp, Mailed: true}
	w.refuses(fault.KindUnauthenticated, command.SetPassword{UserID: "usr_viewer", PasswordHash: "x"})
	w.refuses(fault.KindUnauthenticated, command.SetPassword{UserID: "usr_none", PasswordHash: "x", Stamp: stamp})
	w.refuses(fault.KindUnauthenticated, command.SetPassword{UserID: "usr_admin", PasswordHash: "x", Stamp: stamp})
	w.must(set)
	w.refuses(fault.KindUnauthenticated, set)
	u := w.user("usr_viewer")
	session, token := w.access("usr_viewer")
	if u.PasswordHash != set.PasswordHash || u.EmailVerifiedAt.IsZero() || session || !token {
		t.Errorf("got %+v, session %v, token %v", u, session, token)
	}
}

func TestSetPassword_KeepsTheSessionItWasAskedFrom(t *testing.T) {
	w := peopled(t).by("usr_viewer")
	w.must(command.SetPassword{UserID: "usr_viewer", PasswordHash: "n", Stamp: w.user("usr_viewer").Stamp(), KeepSession: "ses_usr_viewer"})
	if session, _ := w.access("usr_viewer"); !session {
		t.Error("the session ended")
	}
	if !w.user("usr_viewer").EmailVerifiedAt.IsZero() {
		t.Error("a changed password verified the address")
	}
}

func TestResetUserPassword_MakesEarlierLinksWorthless(t *testing.T) {
	w := peopled(t).by("usr_admin")
	before := w.user("usr_viewer").Stamp()
	w.must(command.ResetUserPassword{ID: "usr_viewer"})
	w.refuses(fault.KindUnauthenticated, command.SetPassword{UserID: "usr_viewer", PasswordHash: "n", Stamp: before})
	if session, _ := w.access("usr_viewer"); !session {
		t.Error("making the link signed the person out")
	}
	w.must(command.SetPassword{UserID: "usr_viewer", PasswordHash: "n", Stamp: w.user("usr_viewer").Stamp()})
	stamp := w.user("usr_viewer").Stamp()
	w.must(status("usr_viewer", gestor.StatusBlocked))
	w.refuses(fault.KindUnauthenticated, command.SetPassword{UserID: "usr_viewer", PasswordHash: "n", Stamp: stamp})
	w.refuses(fault.KindConflict, command.ResetUserPassword{ID: "usr_viewer"})
}

func TestConfirmEmail_TakesNobodyElsesAddress(t *testing.T) {
	w := peopled(t)
	w.actor = gestor.Actor{Kind: "anonymous"}
	stamp := w.user("usr_viewer").Stamp()
	w.refuses(fault.KindExists, command.ConfirmEmail{UserID: "usr_viewer", Email: "other@example.com", Stamp: stamp})
	w.refuses(fault.KindUnauthenticated, command.ConfirmEmail{UserID: "usr_viewer", Email: "new@example.com", Stamp: []byte("x")})
	w.must(command.ConfirmEmail{UserID: "usr_viewer", Email: "viewer@example.com", Stamp: stamp})
	w.must(command.ConfirmEmail{UserID: "usr_viewer", Email: "new@example.com", Stamp: stamp})
	w.refuses(fault.KindUnauthenticated, command.ConfirmEmail{UserID: "usr_viewer", Email: "third@example.com", Stamp: stamp})
	if u := w.user("usr_viewer"); u.Email != "new@example.com" || u.EmailVerifiedAt.IsZero() {
		t.Errorf("got %+v", u)
	}
}

func TestPeople_NeedTheLevelThatBroughtThem(t *testing.T) {
	w := emptyWorld(t)
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: 1})
	w.must(command.Claim{SetupHash: secret, TenantID: "ten_a", TenantName: "A", UserID: "usr_a", Email: "a@example.com"})
	w.actor = alice
	w.refuses(fault.KindConflict, role("usr_a", gestor.RoleAdmin))
	w.refuses(fault.KindConflict, command.CreateInvitation{Invitation: newInvitation("inv_1", "x@example.com", gestor.RoleViewer)})
	w.must(command.Prune{Before: start})
}
