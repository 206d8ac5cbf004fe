package peer

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// queue is a listener of connections that somebody else has accepted.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// waiting is how many connections may wait to be taken.
const waiting = 64

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn, waiting), done: make(chan struct{})}
}

var _ net.Listener = (*queue)(nil)

// put hands a connection over; where nobody takes it in time it is closed.
func (q *queue) put(c net.Conn) {
	select {
	case <-q.done:
		_ = c.Close()
		return
	default:
	}
	select {
	case q.conns <- c:
	default:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() {
		close(q.done)
		for {
			select {
			case c := <-q.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }

// streams is Raft's layer of connections.
type streams struct {
	*queue
	port *Port
}

var _ raft.StreamLayer = (*streams)(nil)

// Dial implements raft.StreamLayer.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), min(timeout, dialTimeout)) // Raft calls without a context
	defer cancel()
	return s.port.dial(ctx, string(to), "", s.port.raftProtocol())
}
