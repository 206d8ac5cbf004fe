package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// member is one of several servers. What it does with a call is for the test to say.
type member struct {
	gestorv1connect.UnimplementedAppServiceHandler
	gestorv1connect.UnimplementedNodeServiceHandler

	web     *httptest.Server
	address string
	answer  func(ctx context.Context) error // instead of doing the work

	mu    sync.Mutex
	calls []string
	heads []http.Header
}

func (m *member) serve(ctx context.Context, call string, h http.Header) error {
	m.mu.Lock()
	m.calls = append(m.calls, call)
	m.heads = append(m.heads, h.Clone())
	m.mu.Unlock()
	if m.answer != nil {
		return m.answer(ctx)
	}
	return nil
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.calls)
}

func (m *member) ListApps(ctx context.Context, _ *gestorv1.ListAppsRequest) (*gestorv1.ListAppsResponse, error) {
	return &gestorv1.ListAppsResponse{}, m.serve(ctx, "ListApps", header(ctx))
}

func (m *member) CreateApp(ctx context.Context, _ *gestorv1.CreateAppRequest) (*gestorv1.CreateAppResponse, error) {
	return &gestorv1.CreateAppResponse{}, m.serve(ctx, "CreateApp", header(ctx))
}

func (m *member) WatchNodes(ctx context.Context, _ *gestorv1.WatchNodesRequest, out *connect.ServerStream[gestorv1.WatchNodesResponse]) error {
	if err := m.serve(ctx, "WatchNodes", header(ctx)); err != nil {
		return err
	}
	return out.Send(&gestorv1.WatchNodesResponse{Revision: 7})
}

func header(ctx context.Context) http.Header {
	info, _ := connect.CallInfoForHandlerContext(ctx)
	return info.RequestHeader()
}

const clusterName = "server.clu-1.gestor.internal"

// cluster starts servers with certificates of one root, for one name and no address.
func cluster(t *testing.T, n int) ([]*member, *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{clusterName},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := rpc.Roots(der)
	if err != nil {
		t.Fatal(err)
	}
	members := make([]*member, n)
	for i := range members {
		members[i] = start(t, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k})
	}
	return members, pool
}

func start(t *testing.T, leaf tls.Certificate) *member {
	t.Helper()
	m := &member{}
	faults := rpc.ServerFaults(func(context.Context) string { return "ref" }, func(context.Context, string, error) {})
	mux := http.NewServeMux()
	mux.Handle(gestorv1connect.NewAppServiceHandler(m, connect.WithInterceptors(faults)))
	mux.Handle(gestorv1connect.NewNodeServiceHandler(m, connect.WithInterceptors(faults)))
	m.web = httptest.NewUnstartedServer(mux)
	m.web.EnableHTTP2 = true
	m.web.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	m.web.StartTLS()
	m.address = m.web.Listener.Addr().String()
	t.Cleanup(m.kill)
	return m
}

func (m *member) kill() {
	m.web.CloseClientConnections()
	_ = m.web.Listener.Close()
	m.web.CloseClientConnections()
}

// deaf is an address that takes connections and says nothing.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func client(t *testing.T, o rpc.Options, pool *x509.CertPool, addresses ...string) *rpc.Client {
	t.Helper()
	o.Address, o.Addresses, o.Roots, o.ServerName = addresses[0], addresses[1:], pool, clusterName
	c := rpc.New(o)
	t.Cleanup(c.Close)
	return c
}

func list(t *testing.T, c *rpc.Client) error {
	t.Helper()
	_, err := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...).ListApps(t.Context(), &gestorv1.ListAppsRequest{})
	return err
}

func create(t *testing.T, c *rpc.Client, id string) error {
	t.Helper()
	_, err := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...).CreateApp(t.Context(), &gestorv1.CreateAppRequest{RequestId: id})
	return err
}

// cut ends the connection in the middle of a call.
func cut(context.Context) error { panic(http.ErrAbortHandler) }

func TestFailover_GoesToTheNextServerWhenOneIsDeadAndStaysThere(t *testing.T) {
	members, pool := cluster(t, 3)
	var moves []rpc.Move
	c := client(t, rpc.Options{Moved: func(m rpc.Move) { moves = append(moves, m) }}, pool,
		members[0].address, members[1].address, members[2].address)
	if err := list(t, c); err != nil || members[0].count() != 1 {
		t.Fatalf("got %v, the first server has %d calls", err, members[0].count())
	}
	members[0].kill()
	for range 3 {
		if err := list(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if members[1].count() != 3 || members[2].count() != 0 || c.Address() != members[1].address {
		t.Errorf("calls went to %d and %d, in use %s", members[1].count(), members[2].count(), c.Address())
	}
	if len(moves) != 1 || moves[0].From != members[0].address || moves[0].To != members[1].address || moves[0].Answered {
		t.Errorf("told of %+v", moves)
	}
}

func TestFailover_SendsAWriteThatCertainlyDidNotArriveToAnother(t *testing.T) {
	members, pool := cluster(t, 2)
	members[0].kill()
	if err := create(t, client(t, rpc.Options{}, pool, members[0].address, members[1].address), ""); err != nil || members[1].count() != 1 {
		t.Errorf("got %v after %d calls", err, members[1].count())
	}
}

func TestFailover_RepeatsAWriteThatMayHaveArrivedOnlyByItsRequestID(t *testing.T) {
	for id, want := range map[string]int{"": 0, "cli_1": 1} {
		members, pool := cluster(t, 2)
		members[0].answer = cut
		err := create(t, client(t, rpc.Options{}, pool, members[0].address, members[1].address), id)
		if (err == nil) != (want == 1) || members[1].count() != want {
			t.Errorf("with the id %q: got %v and %d calls of the other, want %d", id, err, members[1].count(), want)
		}
	}
}

func TestFailover_RepeatsAWriteIfTheServerSaysThatNothingWasDone(t *testing.T) {
	for nothing, want := range map[bool]int{false: 0, true: 1} {
		members, pool := cluster(t, 2)
		members[0].answer = func(context.Context) error {
			f := fault.Unavailable("the server is stopping")
			f.NothingDone = nothing
			return f
		}
		var moves []rpc.Move
		o := rpc.Options{Moved: func(m rpc.Move) { moves = append(moves, m) }}
		err := create(t, client(t, o, pool, members[0].address, members[1].address), "")
		if (err == nil) != nothing || members[1].count() != want {
			t.Errorf("nothing done %v: got %v and %d calls", nothing, err, members[1].count())
		}
		if nothing && (len(moves) != 1 || !moves[0].Answered) {
			t.Errorf("told of %+v", moves)
		}
	}
}

func TestFailover_TakesANoForAnAnswer(t *testing.T) {
	members, pool := cluster(t, 2)
	members[0].answer = func(context.Context) error { return fault.NotFound("there is no app") }
	err := list(t, client(t, rpc.Options{}, pool, members[0].address, members[1].address))
	if !errors.Is(err, fault.KindNotFound) || members[1].count() != 0 {
		t.Errorf("got %v and %d calls of the other", err, members[1].count())
	}
}

func TestFailover_LeavesAServerThatHangsWithinSeconds(t *testing.T) {
	t.Parallel()
	members, pool := cluster(t, 2)
	members[0].answer = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for what, address := range map[string]string{"before the handshake": deaf(t), "after the request": members[0].address} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			if err := list(t, client(t, rpc.Options{}, pool, address, members[1].address)); err != nil {
				t.Error(err)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func TestFailover_ComesBackToTheSameServerNoSoonerThanItAsks(t *testing.T) {
	members, pool := cluster(t, 2)
	members[1].kill()
	begin := time.Now()
	members[0].answer = func(context.Context) error {
		if time.Since(begin) < 700*time.Millisecond {
			return fault.Unavailable("no control server leads").WithRetryAfter(800 * time.Millisecond)
		}
		return nil
	}
	if err := list(t, client(t, rpc.Options{}, pool, members[0].address, members[1].address)); err != nil {
		t.Fatal(err)
	}
	if members[0].count() != 2 || time.Since(begin) < 800*time.Millisecond {
		t.Errorf("%d calls in %s", members[0].count(), time.Since(begin))
	}
}

func TestFailover_EndsWithinTheCallersDeadlineAndSaysWhatTheServersSaid(t *testing.T) {
	members, pool := cluster(t, 2)
	members[1].kill()
	members[0].answer = func(context.Context) error { return fault.Unavailable("no control server leads") }
	c := client(t, rpc.Options{Timeout: 500 * time.Millisecond}, pool, members[0].address, members[1].address)
	begin := time.Now()
	err := list(t, c)
	if !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "no control server leads") || time.Since(begin) > 2*time.Second {
		t.Errorf("got %v after %s", err, time.Since(begin))
	}
	members[0].kill()
	err = list(t, c)
	if !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), members[0].address) || !strings.Contains(err.Error(), members[1].address) {
		t.Errorf("got %v, want both addresses in it", err)
	}
}

func TestFailover_CarriesTheRevisionAndTheConsistencyAlong(t *testing.T) {
	members, pool := cluster(t, 2)
	members[0].kill()
	revision := &rpc.Revision{}
	revision.Saw(42)
	o := rpc.Options{Revision: revision, Consistency: rpc.ConsistencyLocal, Token: func() string { return "gss_1" }}
	if err := list(t, client(t, o, pool, members[0].address, members[1].address)); err != nil {
		t.Fatal(err)
	}
	h := members[1].heads[0]
	if h.Get(rpc.HeaderMinRevision) != "42" || h.Get(rpc.HeaderConsistency) != "local" || h.Get("Authorization") != "Bearer gss_1" {
		t.Errorf("the other server got %v", h)
	}
}

func TestFailover_OpensAStreamElsewhereUntilItHasBegun(t *testing.T) {
	for name, fail := range map[string]func(m *member){
		"dead": func(m *member) { m.kill() },
		"cut":  func(m *member) { m.answer = cut },
		"leaderless": func(m *member) {
			m.answer = func(context.Context) error { return fault.Unavailable("no control server leads") }
		},
	} {
		members, pool := cluster(t, 2)
		fail(members[0])
		c := client(t, rpc.Options{}, pool, members[0].address, members[1].address)
		stream, err := gestorv1connect.NewNodeServiceClient(c.HTTP, c.URL, c.Options()...).WatchNodes(t.Context(), &gestorv1.WatchNodesRequest{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := 0
		for stream.Receive() {
			got++
		}
		if got != 1 || stream.Err() != nil || stream.Close() != nil {
			t.Errorf("%s: got %d messages, %v", name, got, stream.Err())
		}
	}
}

func TestFailover_NoticesAServerThatFallsSilentUnderAStream(t *testing.T) {
	t.Parallel()
	members, pool := cluster(t, 2)
	silent, hush := silenced(t, members[0].address)
	c := client(t, rpc.Options{}, pool, silent, members[1].address)
	if err := list(t, c); err != nil {
		t.Fatal(err)
	}
	members[0].answer = func(ctx context.Context) error { hush(); <-ctx.Done(); return ctx.Err() }
	begin := time.Now()
	stream, err := gestorv1connect.NewNodeServiceClient(c.HTTP, c.URL, c.Options()...).WatchNodes(t.Context(), &gestorv1.WatchNodesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || members[1].count() != 1 {
		t.Errorf("got %v, the other server has %d calls", stream.Err(), members[1].count())
	}
	if d := time.Since(begin); d > 8*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestClient_WithOneAddressCallsOnce(t *testing.T) {
	members, pool := cluster(t, 1)
	members[0].answer = func(context.Context) error { return fault.Unavailable("no control server leads") }
	if err := list(t, client(t, rpc.Options{}, pool, members[0].address)); !errors.Is(err, fault.KindUnavailable) || members[0].count() != 1 {
		t.Errorf("got %v after %d calls", err, members[0].count())
	}
}

func TestFailover_LosesNoneOfManyCallsWhenAServerDies(t *testing.T) {
	members, pool := cluster(t, 3)
	var moves atomic.Int32
	c := client(t, rpc.Options{Moved: func(rpc.Move) { moves.Add(1) }}, pool, members[0].address, members[1].address, members[2].address)
	var calls sync.WaitGroup
	for i := range 40 {
		calls.Go(func() {
			for j := range 20 {
				if i == 0 && j == 5 {
					members[0].kill()
				}
				if err := create(t, c, "cli_1"); err != nil {
					t.Errorf("call %d of %d: %v", j, i, err)
				}
			}
		})
	}
	calls.Wait()
	if moves.Load() != 1 || members[1].count() == 0 || members[2].count() != 0 {
		t.Errorf("moved %d times; %d calls at the second server, %d at the third", moves.Load(), members[1].count(), members[2].count())
	}
}
