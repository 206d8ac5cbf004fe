package pki_test

import (
	"crypto/elliptic"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/pki"
)

// tlsServer is one server of a cluster whose clock the test holds.
type tlsServer struct {
	listen net.Listener
	states chan tls.ConnectionState
	errs   chan error
}

func newTLSServer(t *testing.T, servers, agents *pki.Root, id string, now func() time.Time) *tlsServer {
	t.Helper()
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: servers, Cluster: cluster, Server: id, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	config := pki.ServerConfig(leaf, pki.AgentVerifier{Roots: agents.Pool(), Cluster: cluster, Now: now})
	pki.ResumeSessions(config, servers, now)
	config.Time = now
	l, err := tls.Listen("tcp", "127.0.0.1:0", config.Clone()) // as an HTTP server makes a copy, too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &tlsServer{l, make(chan tls.ConnectionState, 1), make(chan error, 1)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conn := c.(*tls.Conn)
			if err := conn.HandshakeContext(t.Context()); err != nil {
				s.errs <- err
			} else {
				s.states <- conn.ConnectionState()
				_, _ = conn.Write([]byte("x")) // the ticket goes before it
			}
			_ = conn.Close()
		}
	}()
	return s
}

// dial shakes hands once and returns what the server saw, or its error.
func (s *tlsServer) dial(t *testing.T, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	c, err := tls.Dial("tcp", s.listen.Addr().String(), client)
	if err == nil {
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	select {
	case state := <-s.states:
		return state, nil
	case err := <-s.errs:
		return tls.ConnectionState{}, err
	}
}

func agentConfig(t *testing.T, servers, agents *pki.Root, now func() time.Time) *tls.Config {
	t.Helper()
	key := newKey(t, elliptic.P256())
	req, err := pki.ParseRequest(newCSR(t, key))
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := agents.SignAgent(cluster, "nod_1", req, now())
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		RootCAs: servers.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}, Time: now,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

func TestResumeSessions_AnyServerTakesUpWhatAnotherBegan(t *testing.T) {
	servers, agents := newRoot(t, "server"), newRoot(t, "agent")
	clock := at(epoch())
	one, two := newTLSServer(t, servers, agents, "srv_1", clock), newTLSServer(t, servers, agents, "srv_2", clock)
	client := agentConfig(t, servers, agents, clock)
	if state, err := one.dial(t, client); err != nil || state.DidResume {
		t.Fatalf("first: resumed %v, %v", state.DidResume, err)
	}
	state, err := two.dial(t, client)
	if err != nil || !state.DidResume {
		t.Fatalf("at another server: resumed %v, %v", state.DidResume, err)
	}
	if len(state.PeerCertificates) != 1 {
		t.Fatalf("the resumed session shows %d certificates", len(state.PeerCertificates))
	}
	foreign := newTLSServer(t, newRoot(t, "server"), agents, "srv_3", clock)
	if _, err := foreign.dial(t, client); err == nil {
		t.Fatal("a server of another root took the session up")
	}
}

func TestResumeSessions_YesterdaysTicketIsGoodAndAnOlderOneIsNot(t *testing.T) {
	servers, agents := newRoot(t, "server"), newRoot(t, "agent")
	for days, want := range map[int]bool{0: true, 1: true, 2: false} {
		begin := epoch().Add(24 * time.Hour).Truncate(24 * time.Hour).Add(time.Minute)
		var passed atomic.Int64
		clock := func() time.Time { return begin.Add(time.Duration(passed.Load())) }
		one, two := newTLSServer(t, servers, agents, "srv_1", clock), newTLSServer(t, servers, agents, "srv_2", clock)
		client := agentConfig(t, servers, agents, clock)
		client.Certificates = nil // it would end before the ticket
		if _, err := one.dial(t, client); err != nil {
			t.Fatal(err)
		}
		passed.Store(int64(days) * int64(24*time.Hour))
		if state, err := two.dial(t, client); err != nil || state.DidResume != want {
			t.Errorf("after %d days: resumed %v, %v", days, state.DidResume, err)
		}
	}
}

func TestResumeSessions_VerifiesTheCertificateAgain(t *testing.T) {
	servers, agents := newRoot(t, "server"), newRoot(t, "agent")
	clock := at(epoch())
	one := newTLSServer(t, servers, agents, "srv_1", clock)
	strict := newTLSServer(t, servers, newRoot(t, "agent"), "srv_2", clock) // trusts other agents
	client := agentConfig(t, servers, agents, clock)
	if _, err := one.dial(t, client); err != nil {
		t.Fatal(err)
	}
	if _, err := strict.dial(t, client); err == nil {
		t.Fatal("a session was resumed whose certificate is not good here")
	}
}
