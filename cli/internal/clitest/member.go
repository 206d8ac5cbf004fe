package clitest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// member is one of the servers: the same state behind an address of its own.
type member struct {
	name       string
	web        *httptest.Server
	leaderless atomic.Bool
	wire       *wire
}

func newMember(t testing.TB, s *Server, name string) *member {
	t.Helper()
	m := &member{name: name}
	routes := s.routes()
	m.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		routes.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), memberKey{}, m)))
	}))
	m.wire = &wire{Listener: m.web.Listener, hung: make(chan struct{}), conns: map[*conn]struct{}{}}
	m.web.Listener = m.wire
	m.web.EnableHTTP2 = true
	m.web.TLS = serverTLS(s.leaf)
	m.web.StartTLS()
	t.Cleanup(func() {
		m.wire.kill()
		m.web.Close()
	})
	return m
}

func (m *member) address() string { return m.wire.Addr().String() }

type memberKey struct{}

func memberOf(ctx context.Context) *member {
	m, _ := ctx.Value(memberKey{}).(*member)
	return m
}

// wire is a listener whose connections can be cut or fall silent.
type wire struct {
	net.Listener

	hung  chan struct{} // closed: nothing travels any more, nothing ends
	once  sync.Once
	mu    sync.Mutex
	dead  bool
	conns map[*conn]struct{}
}

// Accept implements net.Listener.
func (w *wire) Accept() (net.Conn, error) {
	raw, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, wire: w, closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		_ = raw.Close()
	}
	w.conns[c] = struct{}{}
	return c, nil
}

func (w *wire) hang() { w.once.Do(func() { close(w.hung) }) }

// kill is what a process leaves behind that is killed: nobody listens, every connection is reset.
func (w *wire) kill() {
	_ = w.Close()
	w.mu.Lock()
	w.dead = true
	all := w.conns
	w.conns = map[*conn]struct{}{}
	w.mu.Unlock()
	for c := range all {
		_ = c.Close()
	}
}

type conn struct {
	net.Conn

	wire   *wire
	once   sync.Once
	closed chan struct{}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.unlessHung(err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.unlessHung(nil); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) unlessHung(err error) error {
	select {
	case <-c.wire.hung:
		<-c.closed
		return net.ErrClosed
	default:
		return err
	}
}

// Close implements net.Conn. A hung connection is closed by kill alone.
func (c *conn) Close() error {
	err := error(nil)
	c.once.Do(func() {
		close(c.closed)
		err = c.Conn.Close()
	})
	return err
}
