package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/state"
)

const wallCluster = "clu_wall"

// storeEngine reads a real state and applies nothing.
type storeEngine struct{ *state.Store }

func (storeEngine) Propose(context.Context, command.Command) (command.Receipt, error) {
	return command.Receipt{}, fault.Conflict("this test applies nothing")
}

func (storeEngine) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

// wall is the API with every service of the contract mounted and none implemented: what gets through answers
// "unimplemented", or "invalid" if its empty message is.
type wall struct {
	url     string
	roots   *x509.CertPool
	tokens  map[string]string // bearer tokens by caller
	agents  *pki.Root
	keys    map[string]*tls.Certificate // client certificates by caller
	policy  Policy
	clients map[string]*rpc.Client
	deps    Deps
}

func newWall(t testing.TB, claimed bool, now time.Time) *wall {
	t.Helper()
	return newWallOf(t, claimed, now, func(*Deps) {})
}

func newWallWith(t *testing.T, claimed bool, now time.Time, times Times) *wall {
	t.Helper()
	return newWallOf(t, claimed, now, func(d *Deps) { d.Times = times })
}

// newWallOf makes a wall with what change does to its parts.
func newWallOf(t testing.TB, claimed bool, now time.Time, change func(*Deps)) *wall {
	t.Helper()
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	servers, agents := mustRoot(t, "server"), mustRoot(t, "agent")
	w := &wall{tokens: map[string]string{}, keys: map[string]*tls.Certificate{}, clients: map[string]*rpc.Client{}, agents: agents, roots: servers.Pool()}
	if w.policy, err = NewPolicy(Contract()...); err != nil {
		t.Fatal(err)
	}
	w.fill(t, store, claimed, now)
	verifier := pki.AgentVerifier{Roots: agents.Pool(), Cluster: wallCluster, Now: func() time.Time { return now }}
	deps := Deps{
		Engine: storeEngine{store}, Changes: store.Version, Revision: func() uint64 { return 7 }, Agents: verifier, RootPEM: servers.PEM(),
		Version: "test", Mounts: unimplemented(), Now: func() time.Time { return now },
	}
	change(&deps)
	w.deps = deps.withDefaults()
	handler, err := New(deps)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: servers, Cluster: wallCluster, Server: "srv_1", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = pki.ServerConfig(leaf, verifier)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func mustRoot(t testing.TB, role string) *pki.Root {
	t.Helper()
	root, err := pki.NewRoot(wallCluster, role, time.Now().Add(-30*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// fill makes everybody who may come to the wall.
func (w *wall) fill(t testing.TB, store *state.Store, claimed bool, now time.Time) {
	t.Helper()
	ctx := t.Context()
	x, err := store.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x.Revision = 7
	errs := []error{
		x.RaiseLevel(ctx, state.NewestLevel()),
		x.PutCluster(ctx, gestor.Cluster{ID: wallCluster, Claimed: claimed}),
		x.PutTenant(ctx, gestor.Tenant{ID: "ten_1", Name: "One", Status: gestor.StatusActive}),
		x.PutTenant(ctx, gestor.Tenant{ID: "ten_2", Name: "Two", Status: gestor.StatusSuspended}),
		x.PutTenant(ctx, gestor.Tenant{ID: "ten_3", Name: "Three", Status: gestor.StatusActive}),
		x.PutTenant(ctx, gestor.Tenant{ID: "ten_4", Name: "Four", Status: gestor.StatusTrash}),
		x.PutTenant(ctx, gestor.Tenant{ID: "ten_5", Name: "Five", Status: gestor.StatusActive, SecondFactor: true}),
	}
	for _, c := range wallPeople(now) {
		token, hash := auth.NewBearer()
		w.tokens[c.name] = token
		c.user.ID, c.user.Email = gestor.UserID("usr_"+c.name), c.name+"@x"
		c.session.ID, c.session.UserID, c.session.TenantID, c.session.TokenHash = gestor.SessionID("ses_"+c.name), c.user.ID, c.user.TenantID, hash
		errs = append(errs, x.PutUser(ctx, c.user), x.PutSession(ctx, c.session))
	}
	for _, c := range wallMachines(now) {
		secret, hash := auth.NewToken(c.Kind)
		w.tokens[c.Name] = secret
		c.ID, c.TenantID, c.Hash = gestor.TokenID("tkn_"+c.Name), "ten_1", hash
		errs = append(errs, x.PutToken(ctx, c))
	}
	w.tokens["forged"], _ = auth.NewBearer()
	w.tokens["forged token"], _ = auth.NewToken(gestor.TokenPersonal)
	w.tokens["nonsense"] = "x"
	agent := func(name string, known bool, made time.Time) {
		cert, spki := w.certificate(t, "nod_"+name, made)
		w.keys[name] = cert
		if known {
			errs = append(errs, x.PutNode(ctx, gestor.Node{ID: gestor.NodeID("nod_" + name), TenantID: "ten_1", Name: name, SPKI: spki}))
		}
	}
	agent("agent", true, now)
	agent("deleted", false, now)
	agent("lapsed", true, now.Add(-48*time.Hour))
	if err := errors.Join(append(errs, x.Commit(ctx, 7))...); err != nil {
		t.Fatal(err)
	}
}

func (w *wall) certificate(t testing.TB, node string, made time.Time) (*tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := pki.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := w.agents.SignAgent(wallCluster, node, req, made)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, req.SPKI
}

// unimplemented mounts every service of the contract, from its descriptors: a new method is at the wall by itself.
func unimplemented() []Mount {
	var mounts []Mount
	for _, file := range Contract() {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			mounts = append(mounts, func(o ...connect.HandlerOption) (string, http.Handler) {
				mux := http.NewServeMux()
				for j := range service.Methods().Len() {
					method := service.Methods().Get(j)
					mux.Handle(specOf(method).Procedure, unimplementedMethod(method, o))
				}
				return "/" + string(service.FullName()) + "/", mux
			})
		}
	}
	return mounts
}

func unimplementedMethod(m protoreflect.MethodDescriptor, o []connect.HandlerOption) http.Handler {
	spec := specOf(m)
	o = append(o, connect.WithSchema(m), connect.WithIdempotency(spec.IdempotencyLevel),
		connect.WithRequestInitializer(func(_ connect.Spec, message any) error {
			if dynamic, ok := message.(*dynamicpb.Message); ok {
				*dynamic = *dynamicpb.NewMessage(m.Input())
			}
			return nil
		}))
	type message = dynamicpb.Message
	none := connect.NewError(connect.CodeUnimplemented, errors.New("this test implements nothing"))
	switch spec.StreamType {
	case connect.StreamTypeServer:
		return connect.NewServerStreamHandler(spec.Procedure, func(context.Context, *connect.Request[message], *connect.ServerStream[message]) error { return none }, o...)
	case connect.StreamTypeClient:
		return connect.NewClientStreamHandler(spec.Procedure, func(context.Context, *connect.ClientStream[message]) (*connect.Response[message], error) {
			return nil, none
		}, o...)
	case connect.StreamTypeBidi:
		return connect.NewBidiStreamHandler(spec.Procedure, func(context.Context, *connect.BidiStream[message, message]) error { return none }, o...)
	case connect.StreamTypeUnary:
	}
	return connect.NewUnaryHandler(spec.Procedure, func(context.Context, *connect.Request[message]) (*connect.Response[message], error) {
		return nil, none
	}, o...)
}

func (w *wall) client(t *testing.T, caller string) *rpc.Client {
	t.Helper()
	if c, ok := w.clients[caller]; ok {
		return c
	}
	o := rpc.Options{Address: strings.TrimPrefix(w.url, "https://"), ServerName: rpc.ServerName(wallCluster), Roots: w.roots}
	if cert, ok := w.keys[caller]; ok {
		o.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	o.Token = func() string { return w.tokens[caller] }
	c := rpc.New(o)
	t.Cleanup(c.Close)
	w.clients[caller] = c
	return c
}

// call sends an empty message to a procedure and returns the Connect code of the answer, "" for success.
func (w *wall) call(t *testing.T, caller, procedure string, stream bool) string {
	t.Helper()
	kind := "application/json"
	body := []byte("{}")
	if stream {
		kind, body = "application/connect+json", append(binary.BigEndian.AppendUint32([]byte{0}, 2), "{}"...)
	}
	status, answer := w.post(t, caller, procedure, kind, body)
	if stream && status == http.StatusOK && len(answer) > 5 {
		answer = answer[5:]
		var end struct{ Error json.RawMessage }
		if err := json.Unmarshal(answer, &end); err != nil {
			t.Fatalf("%s: %q: %v", procedure, answer, err)
		}
		answer = end.Error
	}
	var failure struct{ Code string }
	if err := json.Unmarshal(answer, &failure); err != nil {
		t.Fatalf("%s as %s: status %d, %q: %v", procedure, caller, status, answer, err)
	}
	return failure.Code
}

func (w *wall) post(t *testing.T, caller, procedure, kind string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+procedure, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if token := w.tokens[caller]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.client(t, caller).HTTP.Do(req)
	if err != nil {
		t.Fatalf("%s as %s: %v", procedure, caller, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}
