package peer

import (
	"container/list"
	"net"
	"sync"
)

// lobby holds the connections that are shaking hands. When it is full the one that has been there longest is hung up on:
// a server is through in milliseconds, who stays is a stranger.
type lobby struct {
	most int

	mu      sync.Mutex
	waiting list.List // of net.Conn, the oldest in front; guarded by mu
	closed  bool      // guarded by mu
}

// enter lets a connection wait; leave takes it out.
func (l *lobby) enter(c net.Conn) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
	}
	if l.waiting.Len() >= l.most {
		oldest := l.waiting.Front()
		_ = l.waiting.Remove(oldest).(net.Conn).Close() //nolint:errcheck,forcetypeassert // the list holds nothing else; a stranger's end
	}
	e := l.waiting.PushBack(c)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiting.Remove(e) // does nothing for one that was hung up on
	}
}

// close hangs up on all and on whoever comes.
func (l *lobby) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close() //nolint:errcheck,forcetypeassert // see above
	}
}
