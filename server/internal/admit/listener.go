// Package admit is the door of the public port: it shakes hands with who comes and hands on connections that have proven
// to speak TLS.
//
// Guarantees. Who connects and says nothing costs a little memory for a bounded time and keeps nobody out: when too many
// shake hands, the oldest of the network that has most of them makes room. No more handshakes are computed at once than
// the machine has use for; waiting for the other side takes no place. What one network holds open is bounded, but
// for programs of this machine and for those who have shown a certificate of this cluster.
package admit

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/limit"
)

// Options say what a Listener admits. TLS is needed; a zero elsewhere means the default.
type Options struct {
	TLS        *tls.Config
	Shaking    int           // connections in the handshake at once; 2048
	Working    int           // of those, being computed; 4 for each core
	Timeout    time.Duration // of a handshake; 10 s
	Most       int           // connections without a certificate at once; 20,000
	PerNetwork int           // of those, of one /24 of IPv4 or /64 of IPv6; 512
	Network    func(net.Addr) string
	Refused    func(reason string)            // is told of every connection that is hung up on for lack of room
	Failed     func(from net.Addr, err error) // is told of every handshake that failed; nil notes them in the log
	Log        *slog.Logger                   // nil discards
}

func (o Options) withDefaults() Options {
	set := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&o.Shaking, 2048)
	set(&o.Working, 4*runtime.GOMAXPROCS(0))
	set(&o.Most, 20000)
	set(&o.PerNetwork, 512)
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Network == nil {
		o.Network = RemoteNetwork
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(from net.Addr, err error) { o.Log.Debug("handshake failed", "address", from.String(), "err", err) }
	}
	return o
}

// The reasons of refusals, as monitoring counts them.
const (
	refusedHandshake  = "handshakes"
	refusedConnection = "connections"
)

// Listener accepts connections after their handshake. It is a net.Listener for http.Server.Serve.
type Listener struct {
	net.Listener
	o     Options
	lobby *lobby
	open  *limit.Counts // without a certificate
	work  chan struct{} // one for each handshake being computed
	ready chan net.Conn

	ctx    context.Context // ends with the listener
	cancel context.CancelCauseFunc
	parts  sync.WaitGroup
	once   sync.Once
}

// New begins to take connections from l. Close ends it and l.
func New(l net.Listener, o Options) *Listener {
	o = o.withDefaults()
	a := &Listener{
		Listener: l, o: o, lobby: newLobby(o.Shaking), open: &limit.Counts{Most: o.PerNetwork, MostAll: o.Most},
		work: make(chan struct{}, o.Working), ready: make(chan net.Conn),
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background()) // a listener has no caller; Close ends it
	a.parts.Go(a.accept)
	return a
}

// Accept returns the next connection that has shaken hands, a *tls.Conn.
func (a *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-a.ready:
		return conn, nil
	case <-a.ctx.Done():
		return nil, context.Cause(a.ctx)
	}
}

// Close hangs up on who shakes hands, and waits for that. Connections that were handed on stay.
func (a *Listener) Close() error {
	a.cancel(net.ErrClosed)
	var err error
	a.once.Do(func() { err = a.Listener.Close() })
	a.parts.Wait()
	return err
}

func (a *Listener) accept() {
	for {
		raw, err := a.Listener.Accept()
		if err == nil {
			a.receive(raw)
			continue
		}
		if errors.Is(err, net.ErrClosed) || a.ctx.Err() != nil {
			a.cancel(err)
			return
		}
		select { // out of file descriptors: somebody may leave
		case <-a.ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// receive lets a connection into the lobby, at the cost of another if it is full.
func (a *Listener) receive(raw net.Conn) {
	ctx, cancel := context.WithTimeout(a.ctx, a.o.Timeout)
	guest := &guest{network: a.o.Network(raw.RemoteAddr()), out: cancel, since: time.Now()}
	in, full := a.lobby.enter(guest)
	if full {
		a.o.Refused(refusedHandshake)
	}
	if !in {
		cancel()
		_ = raw.Close() // nothing was said yet; who means it comes again
		return
	}
	a.parts.Go(func() {
		defer cancel()
		defer a.lobby.leave(guest)
		a.shake(ctx, raw, guest)
	})
}

// shake does the handshake and hands the connection on.
func (a *Listener) shake(ctx context.Context, raw net.Conn, of *guest) {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) }) // ends what waits for the network
	conn := &guestConn{Conn: raw, ctx: ctx, work: a.work, shaking: true, spoke: &of.spoke}
	secure := tls.Server(conn, a.o.TLS)
	err := secure.HandshakeContext(ctx)
	conn.settle()
	if !stop() || err != nil {
		a.o.Failed(raw.RemoteAddr(), err)
		_ = raw.Close()
		return
	}
	if of.network != "" && len(secure.ConnectionState().PeerCertificates) == 0 {
		leave, ok := a.open.Enter(of.network)
		if !ok {
			a.o.Refused(refusedConnection)
			_ = raw.Close()
			return
		}
		conn.leave = leave
	}
	select {
	case a.ready <- secure:
	case <-a.ctx.Done():
		_ = conn.Close()
	}
}

// RemoteNetwork is the network an address is of; "" for this machine's own.
func RemoteNetwork(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	if at.Addr().Unmap().IsLoopback() {
		return ""
	}
	return auth.Network(at.Addr().String())
}
