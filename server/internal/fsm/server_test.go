package fsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// serverWorld has one server, srv_1 ("ctl1"), and a token tok_1 with which another joins in its place.
func serverWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.must(command.PutServer{Server: newServer("srv_1", "ctl1")})
	w.must(command.CreateServerToken{Token: newServerToken("tok_1")})
	return w
}

func (w *world) server(id gestor.ServerID) gestor.Server {
	w.t.Helper()
	s, err := w.view().Server(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func enroll(id gestor.ServerID, name string) command.EnrollServer {
	return command.EnrollServer{TokenID: "tok_1", SecretHash: secret, Server: newServer(id, name)}
}

func TestEnrollServer_LetsNobodyInBeforeTheFounderIsKnown(t *testing.T) {
	w := newWorld(t)
	token := newServerToken("tok_1")
	token.Replaces = ""
	w.must(command.CreateServerToken{Token: token})
	w.refuses(fault.KindUnavailable, enroll("srv_2", "ctl2"))
	w.must(command.PutServer{Server: newServer("srv_1", "ctl1")})
	w.must(enroll("srv_2", "ctl2"))
}

func TestEnrollServer_UsesTheTokenOnceAndAnswersTheSameServerAgain(t *testing.T) {
	w := serverWorld(t)
	w.must(enroll("srv_2", "ctl2"))
	if s := w.server("srv_2"); s.Name != "ctl2" || s.Replaces != "srv_1" || !s.CreatedAt.Equal(w.now) || len(s.Addresses) != 1 {
		t.Errorf("got %+v", s)
	}
	w.refuses(fault.KindConflict, enroll("srv_3", "ctl3"))
	before := w.server("srv_2").Revision
	w.must(enroll("srv_2", "another"))
	if s := w.server("srv_2"); s.Name != "ctl2" {
		t.Errorf("asking again renamed the server to %s", s.Name)
	}
	again := enroll("srv_2", "ctl2")
	again.Server.Name, again.Server.PeerAddress = "another", "ctl2.example.net:8444"
	w.must(again)
	if s := w.server("srv_2"); s.PeerAddress != "ctl2.example.net:8444" || s.Revision == before {
		t.Errorf("asking again from another address was not noted: %+v", s)
	}
	w.must(command.DeleteServer{ID: "srv_2"})
	w.refuses(fault.KindConflict, enroll("srv_2", "ctl2"))
}

func TestEnrollServer_ATokenThatWasUsedIsWorthNothingSoonAfter(t *testing.T) {
	w := serverWorld(t)
	w.must(enroll("srv_2", "ctl2"))
	w.now = w.now.Add(answerLost)
	w.must(enroll("srv_2", "ctl2"))
	w.now = w.now.Add(time.Second)
	w.refuses(fault.KindConflict, enroll("srv_2", "ctl2"))
}

func TestEnrollServer_RefusesStrangersAlikeAndLateComers(t *testing.T) {
	w := serverWorld(t)
	wrong, unknown := enroll("srv_2", "ctl2"), enroll("srv_2", "ctl2")
	wrong.SecretHash, unknown.TokenID = hashOf("other"), "tok_9"
	one, two := w.refusal(fault.KindUnauthenticated, wrong), w.refusal(fault.KindUnauthenticated, unknown)
	if one.Error() != two.Error() {
		t.Errorf("%q and %q tell a wrong secret from an unknown token", one, two)
	}
	w.refuses(fault.KindExists, enroll("srv_1", "ctl1"))
	w.refuses(fault.KindInvalid, enroll("", "ctl1"))
	w.must(enroll("srv_2", "ctl2"))
	w.now = start.Add(time.Hour)
	late := w.refusal(fault.KindUnauthenticated, enroll("srv_2", "ctl2"))
	if !strings.Contains(late.Error(), "expired") {
		t.Errorf("got %v", late)
	}
}

func TestEnrollServer_MakesAHostsNameUniqueAndPrefersTheTokens(t *testing.T) {
	w := serverWorld(t)
	w.must(enroll("srv_2", "ctl1"))
	at := func(host string, s gestor.Server) gestor.Server { s.PeerAddress = host + ":8444"; return s }
	named := newServerToken("tok_2")
	named.Name, named.Replaces = "frankfurt", ""
	w.must(command.CreateServerToken{Token: named})
	w.must(command.EnrollServer{TokenID: "tok_2", SecretHash: secret, Server: at("c", newServer("srv_3", "ctl1"))})
	long := strings.Repeat("a", 63)
	for _, id := range []gestor.ServerID{"srv_4", "srv_5"} {
		token := newServerToken("tok_" + string(id))
		w.must(command.CreateServerToken{Token: token})
		w.must(command.EnrollServer{TokenID: token.ID, SecretHash: secret, Server: at(string(id[4:]), newServer(id, long))})
	}
	for id, want := range map[gestor.ServerID]string{
		"srv_1": "ctl1", "srv_2": "ctl1-2", "srv_3": "frankfurt", "srv_4": long, "srv_5": long[:61] + "-2",
	} {
		if s := w.server(id); s.Name != want {
			t.Errorf("%s is called %s, want %s", id, s.Name, want)
		}
	}
}

func TestEnrollServer_RefusesTheAddressOfAnotherUnlessItReplacesThat(t *testing.T) {
	w := serverWorld(t)
	w.must(command.CreateServerToken{Token: func() gestor.ServerToken { s := newServerToken("tok_2"); s.Replaces = ""; return s }()})
	same := newServer("srv_2", "ctl2")
	same.PeerAddress = w.server("srv_1").PeerAddress
	w.refuses(fault.KindExists, command.EnrollServer{TokenID: "tok_2", SecretHash: secret, Server: same})
	w.must(command.EnrollServer{TokenID: "tok_1", SecretHash: secret, Server: same})
	w.must(command.EnrollServer{TokenID: "tok_2", SecretHash: secret, Server: newServer("srv_3", "ctl3")})
	moved := newServer("srv_3", "ctl3")
	moved.PeerAddress = same.PeerAddress
	w.refuses(fault.KindExists, command.PutServer{Server: moved})
}

func TestCreateServerToken_RefusesATakenNameAndAnUnknownServerToReplace(t *testing.T) {
	w := serverWorld(t)
	token := newServerToken("tok_2")
	token.Name = "ctl1"
	w.refuses(fault.KindExists, command.CreateServerToken{Token: token})
	token.Name, token.Replaces = "ctl2", "srv_9"
	w.refuses(fault.KindNotFound, command.CreateServerToken{Token: token})
	w.refuses(fault.KindExists, command.CreateServerToken{Token: newServerToken("tok_1")})
}

func TestEnrollServer_IsToldInTheAuditLogOfWhoMadeTheToken(t *testing.T) {
	w := serverWorld(t)
	w.actor = system
	w.actor.Action = "server.enroll"
	w.must(enroll("srv_2", "ctl2"))
	entries, _, err := w.store.View(gestor.TenantScope("ten_a")).AuditEntries(t.Context(), gestor.Page{})
	if err != nil || len(entries) != 1 || entries[0].Object != "srv_2" {
		t.Errorf("got %+v, %v", entries, err)
	}
}

func TestPutServer_WritesOnlyWhatIsNewOfServersThatAreKnown(t *testing.T) {
	w := serverWorld(t)
	before := w.server("srv_1")
	w.must(command.PutServer{Server: newServer("srv_1", "ctl1")})
	if after := w.server("srv_1"); after.Revision != before.Revision {
		t.Errorf("nothing new was written at revision %d", after.Revision)
	}
	changed := newServer("srv_1", "")
	changed.Version, changed.Level = "v2", 2
	w.must(command.PutServer{Server: changed})
	if s := w.server("srv_1"); s.Name != "ctl1" || s.Version != "v2" || s.Level != 2 || !s.CreatedAt.Equal(before.CreatedAt) {
		t.Errorf("got %+v", s)
	}
	w.refuses(fault.KindNotFound, command.PutServer{Server: newServer("srv_2", "ctl2")})
	w.refuses(fault.KindInvalid, command.PutServer{Server: newServer("", "ctl2")})
	w.must(enroll("srv_2", "ctl2"))
	w.refuses(fault.KindExists, command.PutServer{Server: newServer("srv_2", "ctl1")})
	w.must(command.PutServer{Server: newServer("srv_2", "ctl3")})
	if s := w.server("srv_2"); s.Replaces != "srv_1" || s.Name != "ctl3" {
		t.Errorf("a change made it forget what it replaces: %+v", s)
	}
}

func TestDeleteServer_IsIdempotentAndKeepsTheLast(t *testing.T) {
	w := serverWorld(t)
	w.refuses(fault.KindConflict, command.DeleteServer{ID: "srv_1"})
	w.refuses(fault.KindNotFound, command.DeleteServer{})
	w.must(enroll("srv_2", "ctl2"))
	w.must(command.DeleteServer{ID: "srv_1"})
	w.must(command.DeleteServer{ID: "srv_1"})
	if s := w.server("srv_2"); s.Replaces != "" {
		t.Errorf("it still replaces %s, which is gone", s.Replaces)
	}
	if _, err := w.view().Server(t.Context(), "srv_1"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestPrune_ForgetsServerTokensThatHaveExpired(t *testing.T) {
	w := serverWorld(t)
	w.must(command.Prune{Before: start.Add(2 * time.Hour)})
	if _, err := w.view().ServerToken(t.Context(), "tok_1"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}
