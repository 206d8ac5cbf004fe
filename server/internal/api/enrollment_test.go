package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// entrance is a server that hosts join, over the TLS it really has, with a clock that the test turns.
type entrance struct {
	*machine
	t       *testing.T
	address string
	servers *pki.Root
	agents  *pki.Root
	clock   atomic.Pointer[time.Time]
	late    atomic.Pointer[func()] // makes what other servers have taken arrive here, at a barrier
}

func (e *entrance) now() time.Time { return *e.clock.Load() }

func (e *entrance) turn(to time.Time) { e.clock.Store(&to) }

func (e *entrance) barrier(context.Context) error {
	if arrive := e.late.Swap(nil); arrive != nil {
		(*arrive)()
	}
	return nil
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	e := &entrance{machine: newMachine(t), t: t}
	e.turn(time.Now())
	e.servers, e.agents = e.root("server"), e.root("agent")
	verifier := pki.AgentVerifier{Roots: e.agents.Pool(), Cluster: "clu_test", Now: e.now}
	service := api.NewEnrollmentService(api.EnrollmentDeps{
		Engine: e, AgentRoot: e.agents, ServerRoot: e.servers, Cluster: "clu_test", Servers: func(context.Context) ([]string, error) { return []string{"ctl.example:8443"}, nil }, Handover: handover, Barrier: e.barrier,
		Guesses: auth.NewThrottle(auth.ThrottleOptions{Free: 100}), Now: e.now, Log: slog.New(slog.DiscardHandler),
	})
	handler, err := api.New(api.Deps{
		Engine: e, Changes: e.store.Version, Revision: e.applied.Load, Agents: verifier, Now: e.now,
		Mounts: []api.Mount{func(o ...connect.HandlerOption) (string, http.Handler) {
			return agentv1connect.NewEnrollmentServiceHandler(service, o...)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: e.servers, Cluster: "clu_test", Server: "srv_1", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = pki.ServerConfig(leaf, verifier)
	server.StartTLS()
	t.Cleanup(server.Close)
	e.address = strings.TrimPrefix(server.URL, "https://")
	e.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}})
	e.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_1", TenantName: "One", UserID: "usr_1", Email: "a@one.example"})
	return e
}

func (e *entrance) root(role string) *pki.Root {
	e.t.Helper()
	r, err := pki.NewRoot("clu_test", role, time.Now().Add(-time.Hour))
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// token makes a join token for a node and returns its secret; its id is "tok_<name>".
func (e *entrance) token(name string) string {
	e.t.Helper()
	secret := "secret of " + name
	e.do(e.t, command.CreateJoinToken{Token: gestor.JoinToken{
		ID: "tok_" + name, TenantID: "ten_1", SecretHash: pki.HashSecret(secret), NodeName: name,
		NodeID: gestor.NodeID("nod_" + strings.ReplaceAll(name, "-", "")), ExpiresAt: e.now().Add(time.Hour),
	}})
	return secret
}

// client calls with a certificate, or without one if it is nil.
func (e *entrance) client(cert *tls.Certificate) agentv1connect.EnrollmentServiceClient {
	o := rpc.Options{Address: e.address, ServerName: rpc.ServerName("clu_test"), Roots: e.servers.Pool()}
	if cert != nil {
		o.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	c := rpc.New(o)
	e.t.Cleanup(c.Close)
	return agentv1connect.NewEnrollmentServiceClient(c.HTTP, c.URL, c.Options()...)
}

// host is a machine with a key.
type host struct {
	e   *entrance
	key *ecdsa.PrivateKey
}

func (e *entrance) host() host {
	e.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	return host{e, key}
}

// request is a signing request; no two are the same.
func (h host) request() []byte {
	h.e.t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, h.key)
	if err != nil {
		h.e.t.Fatal(err)
	}
	return csr
}

func (h host) enroll(token, secret string) (*agentv1.Identity, error) {
	r, err := h.e.client(nil).Enroll(h.e.t.Context(), &agentv1.EnrollRequest{TokenId: token, TokenSecret: secret, Csr: h.request()})
	return r.GetIdentity(), err
}

func (h host) renew(with *agentv1.Identity, csr []byte) (*agentv1.Identity, error) {
	cert := &tls.Certificate{Certificate: [][]byte{with.GetCertificate()}, PrivateKey: h.key}
	r, err := h.e.client(cert).Renew(h.e.t.Context(), &agentv1.RenewRequest{Csr: csr, Generation: with.GetGeneration()})
	return r.GetIdentity(), err
}

// joined is a host that is a node.
func (e *entrance) joined(name string) (host, *agentv1.Identity) {
	e.t.Helper()
	h := e.host()
	id, err := h.enroll("tok_"+name, e.token(name))
	if err != nil {
		e.t.Fatal(err)
	}
	return h, id
}

func TestEnroll_MakesOneNodeOfOneKey(t *testing.T) {
	e := newEntrance(t)
	secret := e.token("web-1")
	h := e.host()
	id, err := h.enroll("tok_web-1", secret)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(id.GetCertificate())
	if err != nil {
		t.Fatal(err)
	}
	proven, err := (pki.AgentVerifier{Roots: e.agents.Pool(), Cluster: "clu_test", Now: e.now}).Verify([]*x509.Certificate{leaf})
	if err != nil || proven.Node != "nod_web1" || id.GetNodeName() != "web-1" || id.GetGeneration() != 1 {
		t.Errorf("got %v, proven %+v, %v", id, proven, err)
	}
	if again, err := h.enroll("tok_web-1", secret); err != nil || again.GetNodeId() != id.GetNodeId() {
		t.Errorf("a host whose answer was lost: %v, %v", again, err)
	}
	_, err = e.host().enroll("tok_web-1", secret)
	wantKind(t, err, fault.KindConflict)
}

func TestEnroll_TellsNothingOfTokensToThoseWhoGuess(t *testing.T) {
	e := newEntrance(t)
	e.token("web-1")
	_, forged := e.host().enroll("tok_web-1", "guessed")
	_, unknown := e.host().enroll("tok_web-9", "guessed")
	wantKind(t, forged, fault.KindUnauthenticated)
	if forged.Error() != unknown.Error() {
		t.Errorf("a wrong secret is refused with %q, an unknown token with %q", forged, unknown)
	}
}

func TestEnroll_RefusesATokenThatHasExpired(t *testing.T) {
	e := newEntrance(t)
	secret := e.token("web-1")
	e.turn(e.now().Add(time.Hour))
	_, err := e.host().enroll("tok_web-1", secret)
	wantKind(t, err, fault.KindUnauthenticated)
	if !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v", err)
	}
}

func TestEnroll_TakesNoRequestThatIsNotSignedByItsKey(t *testing.T) {
	e := newEntrance(t)
	secret, csr := e.token("web-1"), e.host().request()
	csr[len(csr)-1] ^= 1
	_, err := e.client(nil).Enroll(t.Context(), &agentv1.EnrollRequest{TokenId: "tok_web-1", TokenSecret: secret, Csr: csr})
	wantKind(t, err, fault.KindInvalid)
}

func TestRenew_AnswersTheSameRequestAgainAndNotesAClone(t *testing.T) {
	e := newEntrance(t)
	h, first := e.joined("web-1")
	csr := h.request()
	second, err := h.renew(first, csr)
	if err != nil || second.GetGeneration() != 2 {
		t.Fatalf("got %v, %v", second, err)
	}
	if again, err := h.renew(first, csr); err != nil || again.GetGeneration() != 2 {
		t.Errorf("an agent whose answer was lost: %v, %v", again, err)
	}
	_, err = h.renew(first, h.request()) // the same disk, twice
	wantKind(t, err, fault.KindConflict)
	if third, err := h.renew(second, h.request()); err != nil || third.GetGeneration() != 3 {
		t.Errorf("got %v, %v", third, err)
	}
	_, err = h.renew(first, csr)
	wantKind(t, err, fault.KindConflict)
}

func TestRenew_TakesAnExpiredCertificateForAWhile(t *testing.T) {
	e := newEntrance(t)
	h, id := e.joined("web-1")
	end := id.GetNotAfter().AsTime()
	e.turn(end.Add(pki.RenewGrace + time.Hour))
	if _, err := h.renew(id, h.request()); err == nil { // the handshake refuses it
		t.Error("a certificate that ended long ago was renewed")
	}
	e.turn(end.Add(pki.RenewGrace - time.Hour))
	fresh, err := h.renew(id, h.request())
	if err != nil || !fresh.GetNotAfter().AsTime().After(e.now()) {
		t.Errorf("got %v, %v", fresh, err)
	}
}

func TestRenew_RefusesWhoIsNoNode(t *testing.T) {
	e := newEntrance(t)
	h, id := e.joined("web-1")
	stranger := e.host()
	_, err := e.client(nil).Renew(t.Context(), &agentv1.RenewRequest{Csr: h.request(), Generation: 1})
	wantKind(t, err, fault.KindUnauthenticated)
	_, err = h.renew(id, stranger.request()) // its certificate, for another key
	wantKind(t, err, fault.KindDenied)
	e.do(t, command.DeleteNode{ID: "nod_web1"})
	_, err = h.renew(id, h.request())
	wantKind(t, err, fault.KindUnauthenticated)
}

func TestEnroll_AWrongSecretWritesNothing(t *testing.T) {
	e := newEntrance(t)
	e.token("web-1")
	before := e.applied.Load()
	_, err := e.host().enroll("tok_web-1", "guessed")
	wantKind(t, err, fault.KindUnauthenticated)
	if after := e.applied.Load(); after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
}

func TestRenew_AStaleGenerationWritesOnlyNowAndThen(t *testing.T) {
	e := newEntrance(t)
	h, first := e.joined("web-1")
	if _, err := h.renew(first, h.request()); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 102 { // 100 are free
		_, err = h.renew(first, h.request())
	}
	wantKind(t, err, fault.KindExhausted)
}
