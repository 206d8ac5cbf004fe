package api_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// handover stands for the keys of the installation.
func handover() (*agentv1.EnrollServerResponse, error) {
	return &agentv1.EnrollServerResponse{ClusterId: "clu_test", KeyRing: []byte("ring"), Peers: []string{"ctl1:8444"}}, nil
}

func decoded(data []byte) (command.Command, error) {
	m := &raftv1.Command{}
	if err := proto.Unmarshal(data, m); err != nil {
		return command.Command{}, err
	}
	return command.Decode(m)
}

// serverToken makes a server token "tok" and returns a good request with it.
func (e *entrance) serverToken() *agentv1.EnrollServerRequest {
	e.t.Helper()
	e.do(e.t, command.PutServer{Server: gestor.Server{ID: "srv_first", Name: "ctl1", PeerAddress: "ctl1.example:8444", Level: command.Level}})
	e.do(e.t, command.CreateServerToken{Token: gestor.ServerToken{ID: "tok", SecretHash: pki.HashSecret("secret"), ExpiresAt: e.now().Add(10 * time.Minute)}})
	return &agentv1.EnrollServerRequest{
		TokenId: "tok", TokenSecret: "secret", ServerId: "srv_new", Name: "ctl2", PeerAddress: "ctl2.example:8444",
		Addresses: []string{"ctl2.example:8443"}, Version: "v1", Level: command.Level,
	}
}

func TestEnrollServer_HandsTheKeysToOneServerHoweverOftenItAsks(t *testing.T) {
	e := newEntrance(t)
	req := e.serverToken()
	for range 2 {
		res, err := e.client(nil).EnrollServer(t.Context(), req)
		if err != nil || res.GetName() != "ctl2" || string(res.GetKeyRing()) != "ring" || len(res.GetPeers()) != 1 {
			t.Fatalf("got %v, %v", res, err)
		}
	}
	known, err := e.View(gestor.SystemScope()).Server(t.Context(), "srv_new")
	if err != nil || known.PeerAddress != "ctl2.example:8444" || known.Version != "v1" {
		t.Errorf("got %+v, %v", known, err)
	}
	req.ServerId = "srv_other"
	_, err = e.client(nil).EnrollServer(t.Context(), req)
	wantKind(t, err, fault.KindConflict)
	req.ServerId = "srv_new"
	e.turn(e.now().Add(11 * time.Minute))
	_, err = e.client(nil).EnrollServer(t.Context(), req)
	wantKind(t, err, fault.KindUnauthenticated)
}

func TestEnrollServer_AnswersStrangersAlikeAndWritesNothing(t *testing.T) {
	e := newEntrance(t)
	req := e.serverToken()
	before := e.applied.Load()
	var said []string
	for _, change := range []func(*agentv1.EnrollServerRequest){
		func(r *agentv1.EnrollServerRequest) { r.TokenSecret = "wrong" },
		func(r *agentv1.EnrollServerRequest) { r.TokenId = "none" },
	} {
		wrong, ok := proto.Clone(req).(*agentv1.EnrollServerRequest)
		if !ok {
			t.Fatal("no request")
		}
		change(wrong)
		res, err := e.client(nil).EnrollServer(t.Context(), wrong)
		wantKind(t, err, fault.KindUnauthenticated)
		if len(res.GetKeyRing()) > 0 {
			t.Error("a stranger got the keys")
		}
		said = append(said, err.Error())
	}
	if said[0] != said[1] {
		t.Errorf("%q and %q tell a wrong secret from an unknown token", said[0], said[1])
	}
	if e.applied.Load() != before {
		t.Error("a stranger made the cluster write")
	}
}

func TestEnrollServer_SlowsDownWhoGuesses(t *testing.T) {
	e := newEntrance(t)
	req := e.serverToken()
	req.TokenSecret = "wrong"
	var err error
	for range 110 {
		if _, err = e.client(nil).EnrollServer(t.Context(), req); errors.Is(err, fault.KindExhausted) {
			return
		}
	}
	t.Errorf("110 guesses, and then %v", err)
}

func TestEnrollServer_RefusesWhatNoServerSaysOfItself(t *testing.T) {
	e := newEntrance(t)
	good := e.serverToken()
	for field, change := range map[string]func(*agentv1.EnrollServerRequest){
		"server_id":    func(r *agentv1.EnrollServerRequest) { r.ServerId = "srv_../x" },
		"name":         func(r *agentv1.EnrollServerRequest) { r.Name = "a b" },
		"peer_address": func(r *agentv1.EnrollServerRequest) { r.PeerAddress = "0.0.0.0:8444" },
		"addresses[0]": func(r *agentv1.EnrollServerRequest) { r.Addresses = []string{"ctl2"} },
		"version":      func(r *agentv1.EnrollServerRequest) { r.Version = "v1\x1b[31m" },
	} {
		req, ok := proto.Clone(good).(*agentv1.EnrollServerRequest)
		if !ok {
			t.Fatal("no request")
		}
		change(req)
		_, err := e.client(nil).EnrollServer(t.Context(), req)
		refused, ok := errors.AsType[*fault.Error](err)
		if !ok || refused.Kind != fault.KindInvalid || !strings.HasPrefix(refused.Field, field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestEnroll_TakesATokenThatWasMadeOnAnotherServerAMomentAgo(t *testing.T) {
	e := newEntrance(t)
	var req *agentv1.EnrollServerRequest
	arrive := func() { req = e.serverToken() }
	e.late.Store(&arrive)
	first := &agentv1.EnrollServerRequest{
		TokenId: "tok", TokenSecret: "secret", ServerId: "srv_new", PeerAddress: "ctl2.example:8444", Level: command.Level,
	}
	if _, err := e.client(nil).EnrollServer(t.Context(), first); err != nil || req == nil {
		t.Errorf("a server: %v", err)
	}
	secret := ""
	node := func() { secret = e.token("web-9") }
	e.late.Store(&node)
	if _, err := e.host().enroll("tok_web-9", "secret of web-9"); err != nil || secret == "" {
		t.Errorf("a node: %v", err)
	}
}
