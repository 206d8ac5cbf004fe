package server

import (
	"net"
	"net/netip"
	"sync"

	"github.com/saas-gestor/gestor/server/internal/auth"
)

// Most connections at once. A host of one network needs one or two; programs on this machine are not counted.
const (
	mostPerNetwork  = 256 // of a /24 of IPv4 or a /64 of IPv6
	mostConnections = 4096
)

// limitedListener hangs up on connections beyond its limits at once, so that one party cannot take all there are.
type limitedListener struct {
	net.Listener
	perNetwork, most int
	network          func(net.Addr) string // whom a connection counts for; "" for nobody

	mu    sync.Mutex
	open  map[string]int
	total int
}

func limitConnections(l net.Listener) *limitedListener {
	return &limitedListener{
		Listener: l, perNetwork: mostPerNetwork, most: mostConnections, network: remoteNetwork, open: map[string]int{},
	}
}

// remoteNetwork is the network an address is of; "" for this machine's own.
func remoteNetwork(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	if at.Addr().Unmap().IsLoopback() {
		return ""
	}
	return auth.Network(at.Addr().String())
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		network := l.network(conn.RemoteAddr())
		if network == "" {
			return conn, nil
		}
		if l.enter(network) {
			return &countedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(network) })}, nil
		}
		_ = conn.Close() // nothing was said yet
	}
}

func (l *limitedListener) enter(network string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most || l.open[network] >= l.perNetwork {
		return false
	}
	l.total++
	l.open[network]++
	return true
}

func (l *limitedListener) leave(network string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.open[network]--; l.open[network] == 0 {
		delete(l.open, network)
	}
}

// countedConn makes room when it is closed.
type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
