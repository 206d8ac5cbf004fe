package servertest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how much waits in one direction before a writer has to.
const window = 256 << 10

// link is a connection of a Network, as the side that dialled sees it: the real connection with a buffer for each
// direction, between which the data waits for the network.
type link struct {
	net.Conn // the real one
	network  *Network
	way      direction
	out, in  *buffer
	ended    chan struct{} // closed by reset and once everything is delivered
	once     sync.Once
}

func newLink(n *Network, way direction, raw net.Conn) *link {
	l := &link{Conn: raw, network: n, way: way, out: newBuffer(), in: newBuffer(), ended: make(chan struct{})}
	go l.send()
	go l.receive()
	return l
}

// send moves what was written to the other side.
func (l *link) send() {
	defer l.end()
	for {
		p, err := l.out.take()
		if err != nil && len(p) == 0 {
			l.network.pass(l.way, l.ended) // so does the news of its end
			return
		}
		if !l.network.pass(l.way, l.ended) {
			return
		}
		if _, err := l.Conn.Write(p); err != nil {
			l.out.fail(err)
			l.in.fail(err)
			return
		}
	}
}

// receive moves what the other side wrote to who reads.
func (l *link) receive() {
	back := direction{l.way.to, l.way.from}
	p := make([]byte, 32<<10)
	for {
		n, err := l.Conn.Read(p)
		if !l.network.pass(back, l.ended) {
			l.in.fail(net.ErrClosed)
			return
		}
		if n > 0 && l.in.put(p[:n], nil) != nil {
			return
		}
		if err != nil {
			l.in.fail(err)
			return
		}
	}
}

// end closes the real connection. Nothing passes any more.
func (l *link) end() {
	l.once.Do(func() {
		close(l.ended)
		_ = l.Conn.Close()
		l.in.fail(net.ErrClosed)
		l.out.fail(net.ErrClosed)
		go func() { // reset is called with the network's lock held
			l.network.mu.Lock()
			defer l.network.mu.Unlock()
			delete(l.network.links, l)
		}()
	})
}

// reset breaks the connection at once, in both directions.
func (l *link) reset() {
	if tcp, ok := l.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.in.fail(syscall.ECONNRESET)
	l.out.fail(syscall.ECONNRESET)
	l.end()
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) { return l.in.get(p) }

// Write implements net.Conn.
func (l *link) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		piece := p[n:min(len(p), n+window)]
		if err := l.out.put(piece, l.out.late.wait()); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Close implements net.Conn. What was written is still delivered.
func (l *link) Close() error {
	l.in.fail(net.ErrClosed)
	l.out.fail(io.EOF)
	return nil
}

// SetDeadline implements net.Conn.
func (l *link) SetDeadline(t time.Time) error {
	l.in.late.set(t)
	l.out.late.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (l *link) SetReadDeadline(t time.Time) error {
	l.in.late.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (l *link) SetWriteDeadline(t time.Time) error {
	l.out.late.set(t)
	return nil
}

// buffer is what waits in one direction.
type buffer struct {
	late deadline // of the side that is the product's

	mu      sync.Mutex
	data    []byte
	err     error         // what readers get after data, and writers at once
	changed chan struct{} // closed when data or err change
}

func newBuffer() *buffer {
	return &buffer{changed: make(chan struct{}), late: deadline{expired: make(chan struct{})}}
}

// signal wakes who waits. b.mu is held.
func (b *buffer) signal() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// fail ends the buffer; the first error stays.
func (b *buffer) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.signal()
	}
}

// put adds all of p once there is room. late, if not nil, ends the wait.
func (b *buffer) put(p []byte, late <-chan struct{}) error {
	for {
		select {
		case <-late:
			return os.ErrDeadlineExceeded
		default:
		}
		b.mu.Lock()
		if b.err != nil {
			defer b.mu.Unlock()
			if b.err == io.EOF { //nolint:errorlint // it is ours, unwrapped
				return net.ErrClosed
			}
			return b.err
		}
		if len(b.data) < window {
			b.data = append(b.data, p...)
			b.signal()
			b.mu.Unlock()
			return nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-late:
		}
	}
}

// take returns all there is, once there is something.
func (b *buffer) take() ([]byte, error) {
	for {
		b.mu.Lock()
		if len(b.data) > 0 || b.err != nil {
			p := b.data
			b.data = nil
			err := b.err
			b.signal()
			b.mu.Unlock()
			return p, err
		}
		changed := b.changed
		b.mu.Unlock()
		<-changed
	}
}

// get reads, once there is something or the deadline has passed.
func (b *buffer) get(p []byte) (int, error) {
	for {
		late := b.late.wait()
		select {
		case <-late:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		b.mu.Lock()
		if len(b.data) > 0 {
			defer b.mu.Unlock()
			n := copy(p, b.data)
			b.data = b.data[n:]
			b.signal()
			return n, nil
		}
		if b.err != nil {
			defer b.mu.Unlock()
			return 0, b.err
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-late:
		}
	}
}

// deadline is a time that may be moved.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed when the time has come
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.expired // it is just being closed
	}
	d.timer = nil
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		expired := d.expired
		d.timer = time.AfterFunc(wait, func() { close(expired) })
		return
	}
	close(d.expired)
}
