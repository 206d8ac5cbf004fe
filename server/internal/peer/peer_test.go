package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// installation is what the servers of one cluster share.
type installation struct {
	name    string
	servers *pki.Root
	agents  *pki.Root
	members []cluster.Member
}

func newInstallation(t *testing.T, name string) *installation {
	t.Helper()
	servers, err := pki.NewRoot(name, "server", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	agents, err := pki.NewRoot(name, "agent", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &installation{name: name, servers: servers, agents: agents}
}

func (i *installation) leaf(t *testing.T, server string) *pki.ServerLeaf {
	t.Helper()
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: i.servers, Cluster: i.name, Server: server, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// open opens a port and makes it a member.
func (i *installation) open(t *testing.T, server string) *peer.Port {
	t.Helper()
	p, err := peer.Open(t.Context(), peer.Options{
		Listen: "127.0.0.1:0", Self: server, Leaf: i.leaf(t, server),
		Verifier: pki.PeerVerifier{Roots: i.servers.Pool(), Cluster: i.name},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	i.members = append(i.members, cluster.Member{ID: server, Address: p.Address(), Voter: true})
	return p
}

func (i *installation) bind(ports ...*peer.Port) {
	for _, p := range ports {
		p.Bind(func() []cluster.Member { return i.members }, func() string { return "" })
	}
}

// status answers with who asks.
type status struct {
	peerv1connect.UnimplementedReplicationServiceHandler
}

func (status) GetStatus(ctx context.Context, _ *peerv1.GetStatusRequest) (*peerv1.GetStatusResponse, error) {
	return &peerv1.GetStatusResponse{Version: peer.Caller(ctx)}, nil
}

func (status) RemoveServer(context.Context, *peerv1.RemoveServerRequest) (*peerv1.RemoveServerResponse, error) {
	return nil, fault.Conflict("it is the last one").WithFix("keep it")
}

func serve(t *testing.T, p *peer.Port) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, func(o ...connect.HandlerOption) (string, http.Handler) {
			return peerv1connect.NewReplicationServiceHandler(status{}, o...)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func call(t *testing.T, from *peer.Port, to string) (string, error) {
	t.Helper()
	c, err := from.Client(to)
	if err != nil {
		return "", err
	}
	res, err := peerv1connect.NewReplicationServiceClient(c.HTTP, c.URL, c.Options...).GetStatus(t.Context(), &peerv1.GetStatusRequest{})
	return res.GetVersion(), err
}

func TestPort_CarriesCallsBetweenMembersAndTellsWhoCalls(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a, b)
	serve(t, b)
	if who, err := call(t, a, "srv_b"); err != nil || who != "srv_a" {
		t.Fatalf("got %q, %v", who, err)
	}
	c, err := a.Client("srv_b")
	if err != nil {
		t.Fatal(err)
	}
	_, err = peerv1connect.NewReplicationServiceClient(c.HTTP, c.URL, c.Options...).RemoveServer(t.Context(), &peerv1.RemoveServerRequest{})
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.KindConflict || f.Fix != "keep it" {
		t.Fatalf("a refusal came as %v", err)
	}
}

func TestPort_CarriesRaftBesideCalls(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a, b)
	go func() {
		in := <-b.Transport().Consumer()
		in.Respond(&raft.RequestVoteResponse{Term: 7, Granted: true}, nil)
	}()
	var answer raft.RequestVoteResponse
	err := a.Transport().RequestVote("srv_b", raft.ServerAddress(b.Address()), &raft.RequestVoteRequest{Term: 7}, &answer)
	if err != nil || !answer.Granted {
		t.Fatalf("got %+v, %v", answer, err)
	}
}

func TestPort_RefusesAServerThatWasRemovedAlsoOnAnOldConnection(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a, b)
	serve(t, b)
	if _, err := call(t, a, "srv_b"); err != nil {
		t.Fatal(err)
	}
	without := []cluster.Member{i.members[1]}
	b.Bind(func() []cluster.Member { return without }, func() string { return "" })
	if _, err := call(t, a, "srv_b"); err == nil {
		t.Fatal("a removed server was answered on its old connection")
	}
}

func TestPort_TakesAnyServerOfItsClusterBeforeItKnowsTheMembers(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a) // b is about to join
	serve(t, b)
	if _, err := call(t, a, "srv_b"); err != nil {
		t.Fatal(err)
	}
}

func TestPort_TakesAServerThatJoinedWhileItWasAwayOnceItHasBeenWithoutALeaderForAWhile(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a)
	old := []cluster.Member{i.members[1]} // a came while b was away
	b.Bind(func() []cluster.Member { return old }, func() string { return "" })
	var without atomic.Int64
	b.BindLeaderless(func() time.Duration { return time.Duration(without.Load()) })
	serve(t, b)
	if _, err := call(t, a, "srv_b"); err == nil {
		t.Fatal("a server with a leader listens to one it does not know")
	}
	without.Store(int64(time.Minute))
	if _, err := call(t, a, "srv_b"); err != nil {
		t.Fatal(err)
	}
}

func TestPort_SpeaksRaftWithItsOwnIncarnationOfTheClusterOnly(t *testing.T) {
	i := newInstallation(t, "clu_a")
	before := i.open(t, "srv_a")
	after, err := peer.Open(t.Context(), peer.Options{
		Listen: "127.0.0.1:0", Self: "srv_b", Incarnation: "2", Leaf: i.leaf(t, "srv_b"),
		Verifier: pki.PeerVerifier{Roots: i.servers.Pool(), Cluster: i.name},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	var answer raft.RequestVoteResponse
	err = before.Transport().RequestVote("srv_b", raft.ServerAddress(after.Address()), &raft.RequestVoteRequest{Term: 7}, &answer)
	if err == nil || !strings.Contains(err.Error(), "application protocol") {
		t.Fatalf("a server of the cluster before the recovery was heard: %v", err)
	}
}

func TestPort_RefusesAnotherServerAtAMembersAddress(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.members = append(i.members, cluster.Member{ID: "srv_c", Address: b.Address(), Voter: true})
	i.bind(a, b)
	serve(t, b)
	_, err := call(t, a, "srv_c")
	if cause := fmt.Sprint(errors.Unwrap(err)); err == nil || !strings.Contains(cause, "srv_b is at") {
		t.Fatalf("got %v because of %s", err, cause)
	}
}

// knock shakes hands as a stranger and reports whether the port then still listens to it.
func knock(t *testing.T, at string, protocol string, certificate *tls.Certificate) error {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}} // a stranger trusts anybody
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", at)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the refusal of a client comes after its handshake
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return nil // it waits for us to speak
	}
	return err
}

func TestPort_HangsUpOnEverybodyWhoIsNoServerOfTheCluster(t *testing.T) {
	i, other := newInstallation(t, "clu_a"), newInstallation(t, "clu_b")
	a := i.open(t, "srv_a")
	i.bind(a)
	serve(t, a)
	same := newInstallation(t, "clu_a") // says it is this cluster, with roots of its own
	foreign, err := other.leaf(t, "srv_a").Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := same.leaf(t, "srv_a").Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := i.leaf(t, "srv_z").Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, certificate := range map[string]*tls.Certificate{
		"nobody":                      nil,
		"a server of another cluster": foreign,
		"a forged server":             forged,
		"a server that is no member":  stranger,
		"an agent":                    agentCertificate(t, i),
	} {
		for _, protocol := range []string{"gestor-raft", "h2"} {
			if err := knock(t, a.Address(), protocol, certificate); err == nil {
				t.Errorf("%s was let in over %s", name, protocol)
			}
		}
	}
}

func TestPort_ServesMembersWhileStrangersHoldHandshakesOpen(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a, b)
	serve(t, b)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			_ = c.Close()
		}
	}()
	for range 2000 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.Address())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	if _, err := call(t, a, "srv_b"); err != nil {
		t.Fatal(err)
	}
}

// agentCertificate is what an agent of the installation has.
func agentCertificate(t *testing.T, i *installation) *tls.Certificate {
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
	der, _, err := i.agents.SignAgent(i.name, "nod_1", req, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestPort_ClosesWithoutLosingAGoroutineOnItsConnections(t *testing.T) {
	i := newInstallation(t, "clu_a")
	a := i.open(t, "srv_a")
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Fatalf("the connection outlives the port: %v", err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }
