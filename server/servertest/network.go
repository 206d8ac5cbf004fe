package servertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Network joins named endpoints over loopback and does harm to what passes. A direction that is cut swallows nothing: what
// is written waits until the cut is healed or somebody's patience ends, as behind a TCP that repeats itself. It is safe for
// concurrent use.
type Network struct {
	octet int // of all addresses, so that networks of several tests do not meet

	mu       sync.Mutex
	ends     map[string]*Endpoint // by name
	owners   map[string]string    // by address, host:port: the endpoint that listens there
	cut      map[direction]bool   // guarded by mu, as all below
	isolated map[string]bool
	paused   map[string]bool
	down     map[string]bool // killed and not revived
	delay    time.Duration   // of each piece of data
	links    map[*link]struct{}
	changed  chan struct{} // closed when what may pass changes
}

type direction struct{ from, to string }

// NewNetwork makes a network without faults. Its connections are reset when the test ends.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{
		octet: 1 + rand.IntN(250), //nolint:gosec // only to stay apart from others
		ends:  map[string]*Endpoint{}, owners: map[string]string{}, cut: map[direction]bool{}, isolated: map[string]bool{},
		paused: map[string]bool{}, down: map[string]bool{}, links: map[*link]struct{}{}, changed: make(chan struct{}),
	}
	t.Cleanup(n.close)
	return n
}

func (n *Network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.reset()
	}
}

// Endpoint is one host of a Network. It is made at the first mention.
type Endpoint struct {
	Name string
	IP   string // of loopback, its own, and in a /24 of its own

	network *Network
}

var _ peer.Network = (*Endpoint)(nil)

// Endpoint returns the endpoint with that name.
func (n *Network) Endpoint(name string) *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[name] == nil {
		i := len(n.ends) + 1
		n.ends[name] = &Endpoint{Name: name, IP: fmt.Sprintf("127.%d.%d.%d", n.octet, i%250, 1+i/250), network: n}
	}
	return n.ends[name]
}

// Reserve finds a port of the endpoint that is free now and stays the endpoint's over restarts.
func (e *Endpoint) Reserve(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort(e.IP, strconv.Itoa(20000+rand.IntN(12000))) //nolint:gosec // below what the kernel gives to those who dial
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		e.own(address)
		return address
	}
	t.Fatalf("no port is free on %s", e.IP)
	return ""
}

// own notes who listens at an address.
func (e *Endpoint) own(address string) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.network.owners[address] = e.Name
}

// Listen implements peer.Network.
func (e *Endpoint) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err == nil {
		e.own(l.Addr().String())
	}
	return l, err
}

// Dial implements peer.Network. What goes over the connection is subject to the faults between the two ends.
func (e *Endpoint) Dial(ctx context.Context, address string) (net.Conn, error) {
	n := e.network
	way := direction{e.Name, n.owner(address)}
	if err := n.open(ctx, way); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(e.IP)}}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := newLink(n, way, raw)
	n.mu.Lock()
	n.links[l] = struct{}{}
	dead := n.down[way.from] || n.down[way.to]
	n.mu.Unlock()
	if dead {
		l.reset()
	}
	return l, nil
}

func (n *Network) owner(address string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owners[address]
}

// open waits until a connection could be made.
func (n *Network) open(ctx context.Context, way direction) error {
	for {
		n.mu.Lock()
		down := n.down[way.from] || n.down[way.to]
		blocked := n.blocked(way) || n.blocked(direction{way.to, way.from})
		changed := n.changed
		n.mu.Unlock()
		if down {
			return syscall.ECONNREFUSED
		}
		if !blocked {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// blocked tells whether nothing passes that way now. n.mu is held.
func (n *Network) blocked(way direction) bool {
	if n.paused[way.from] || n.paused[way.to] {
		return true
	}
	return way.from != way.to && (n.cut[way] || n.isolated[way.from] || n.isolated[way.to])
}

// pass waits until data may go that way; false if the connection ended meanwhile.
func (n *Network) pass(way direction, ended <-chan struct{}) bool {
	for {
		n.mu.Lock()
		blocked, changed, delay := n.blocked(way), n.changed, n.delay
		n.mu.Unlock()
		if !blocked {
			return delay == 0 || n.travel(delay, ended)
		}
		select {
		case <-ended:
			return false
		case <-changed:
		}
	}
}

func (n *Network) travel(delay time.Duration, ended <-chan struct{}) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ended:
		return false
	case <-timer.C:
		return true
	}
}

// change does something to what may pass.
func (n *Network) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Partition cuts both directions between two endpoints.
func (n *Network) Partition(a, b string) {
	n.change(func() { n.cut[direction{a, b}], n.cut[direction{b, a}] = true, true })
}

// Cut cuts one direction: what from writes does not reach to.
func (n *Network) Cut(from, to string) {
	n.change(func() { n.cut[direction{from, to}] = true })
}

// Isolate cuts an endpoint off from all others.
func (n *Network) Isolate(a string) { n.change(func() { n.isolated[a] = true }) }

// Heal ends all cuts and isolations, and the delay.
func (n *Network) Heal() {
	n.change(func() {
		clear(n.cut)
		clear(n.isolated)
		n.delay = 0
	})
}

// Delay makes every piece of data take so long.
func (n *Network) Delay(d time.Duration) { n.change(func() { n.delay = d }) }

// Pause stops all that an endpoint sends and gets, itself included, as a process that is stopped.
func (n *Network) Pause(a string) { n.change(func() { n.paused[a] = true }) }

// Resume ends a pause.
func (n *Network) Resume(a string) { n.change(func() { delete(n.paused, a) }) }

// Kill resets all connections of an endpoint and refuses new ones, until Revive.
func (n *Network) Kill(a string) {
	n.change(func() {
		n.down[a] = true
		for l := range n.links {
			if l.way.from == a || l.way.to == a {
				l.reset()
			}
		}
	})
}

// Revive lets a killed endpoint connect again.
func (n *Network) Revive(a string) {
	n.change(func() {
		delete(n.down, a)
		delete(n.paused, a)
	})
}
