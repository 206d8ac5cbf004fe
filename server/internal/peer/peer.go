// Package peer is the port on which control servers talk to each other, and the way there.
//
// One port carries two protocols, told apart by ALPN: Raft's own, and HTTP/2 with the peer services. Both ends show a
// certificate; a server that is no member of the cluster is hung up on before it has said a word. What is said is not
// this package's business.
//
// Guarantees: a handshake takes a few seconds and a bounded number of them runs at once, so that strangers who connect
// and say nothing cost a little memory and nothing else.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"

	"github.com/saas-gestor/gestor/server/internal/admit"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// The ALPN protocols of the port.
const (
	protocolRaft = "gestor-raft"
	protocolHTTP = "h2"
)

// Network is how servers reach each other. Tests put their faults in between.
type Network interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// Options are what a Port is made of; all of it but Network and Log.
type Options struct {
	Listen    string // host:port
	Advertise string // where other servers reach it, host:port; where it listens if empty
	Self      string // this server's id
	// Incarnation tells a cluster that was restored or recovered from the one of before, whose servers know the same
	// roots and later terms: Raft is spoken only with servers of the same one. Empty for a cluster that never was.
	Incarnation string
	Leaf        *pki.ServerLeaf
	Verifier    pki.PeerVerifier
	Network     Network      // TCP if nil
	Log         *slog.Logger // nil discards
}

// How long things may take, and how many at once.
const (
	dialTimeout      = 3 * time.Second
	handshakeTimeout = 3 * time.Second
	ioTimeout        = 3 * time.Second // of one exchange of Raft's
	handshakesAtOnce = 256
	raftPool         = 3 // idle connections to each server
)

// Port is this server's peer port. Open it, hand Transport to Raft, Bind it to the membership, then Run it.
type Port struct {
	o         Options
	door      *admit.Listener
	raft      *streams
	http      *queue
	transport *raft.NetworkTransport
	refusals  rate.Sometimes // are logged; strangers must not fill the log's files, nor turn over what is in them
	closing   sync.Once
	accepting sync.WaitGroup

	mu         sync.Mutex
	members    func() []cluster.Member // guarded by mu; nil before Bind
	leader     func() string           // guarded by mu
	leaderless func() time.Duration    // guarded by mu; nil before BindLeaderless
	clients    map[string]*Client      // guarded by mu; by server
}

// Open listens and lets Raft begin to talk.
func Open(ctx context.Context, o Options) (*Port, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Network == nil {
		o.Network = TCP{}
	}
	l, err := o.Network.Listen(ctx, o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for other servers on %s: %w; choose another address with --peer-listen, or stop what uses it", o.Listen, err)
	}
	if o.Advertise == "" {
		o.Advertise = l.Addr().String()
	}
	p := &Port{
		o: o, clients: map[string]*Client{},
		http: newQueue(l.Addr()), refusals: rate.Sometimes{First: 10, Interval: time.Second},
	}
	p.raft = &streams{queue: newQueue(address(o.Advertise)), port: p}
	p.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: p.raft, MaxPool: raftPool, Timeout: ioTimeout, Logger: cluster.NewLogger(o.Log),
	})
	p.door = admit.New(l, admit.Options{
		TLS:     pki.PeerConfig(o.Leaf, o.Verifier, p.welcome, p.raftProtocol(), protocolHTTP),
		Shaking: handshakesAtOnce, Timeout: handshakeTimeout, Failed: p.refused,
	})
	p.accepting.Go(p.accept)
	return p, nil
}

// Transport is Raft's way to the other servers.
func (p *Port) Transport() raft.Transport { return transport{p.transport, ioTimeout + time.Second} }

// Address is where other servers reach this one, host:port.
func (p *Port) Address() string { return p.o.Advertise }

// Bind tells who the members are and who leads; until then every server of the cluster is welcome.
func (p *Port) Bind(members func() []cluster.Member, leader func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members, p.leader = members, leader
}

// Close hangs up on everybody.
func (p *Port) Close() error {
	var err error
	p.closing.Do(func() {
		err = errors.Join(p.door.Close(), p.transport.Close(), p.raft.Close(), p.http.Close())
		p.accepting.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.clients {
			c.transport.CloseIdleConnections()
		}
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// BindLeaderless tells how long this server has known no leader, so that it can open up to newer members, see welcome.
func (p *Port) BindLeaderless(f func() time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaderless = f
}

// openAfter is how long a server must have been without a leader to listen to servers it does not know.
const openAfter = 5 * time.Second

// lost reports whether no leader has spoken to this server for so long that the members may be others by now.
func (p *Port) lost() bool {
	p.mu.Lock()
	f := p.leaderless
	p.mu.Unlock()
	return f != nil && f() > openAfter
}

// raftProtocol is what Raft is called among the servers of this incarnation.
func (p *Port) raftProtocol() string {
	if p.o.Incarnation == "" {
		return protocolRaft
	}
	return protocolRaft + "/" + p.o.Incarnation
}

// welcome refuses a server that is no member. A server that knows no members yet is about to join, and one that has been
// without a leader for a while may have missed that the members changed: the one that leads now may have joined
// meanwhile. Both take any server of their cluster; what Raft makes of it is safe without this.
func (p *Port) welcome(server string) error {
	members := p.known()
	if len(members) == 0 || p.lost() || slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == server }) {
		return nil
	}
	return fmt.Errorf("server %s is no member of this cluster; it was removed, or has not joined yet", server)
}

func (p *Port) known() []cluster.Member {
	p.mu.Lock()
	members := p.members
	p.mu.Unlock()
	if members == nil {
		return nil
	}
	return members()
}

// accept hands connections that have shaken hands to whom they are for, until the port is closed.
func (p *Port) accept() {
	for {
		conn, err := p.door.Accept()
		if err != nil {
			return
		}
		target := p.http
		if secure, ok := conn.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == p.raftProtocol() {
			target = p.raft.queue
		}
		target.put(conn)
	}
}

// refused tells of some of those who were not let in.
func (p *Port) refused(from net.Addr, err error) {
	p.refusals.Do(func() {
		p.o.Log.Warn("refused a connection to the peer port", "address", from.String(), "err", err)
	})
}

// dial reaches the peer port at an address. want is the server that must be there; any member if empty.
func (p *Port) dial(ctx context.Context, at, want, protocol string) (net.Conn, error) {
	raw, err := p.o.Network.Dial(ctx, at)
	if err != nil {
		return nil, err
	}
	verify := func(id string) error {
		if want != "" && id != want {
			return fmt.Errorf("server %s is at %s, not %s", id, at, want)
		}
		return p.welcome(id)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Client(raw, pki.PeerConfig(p.o.Leaf, p.o.Verifier, verify, protocol))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach the server at %s: %w", at, err), raw.Close())
	}
	return conn, nil
}

// address is a net.Addr of what others know a server under.
type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
