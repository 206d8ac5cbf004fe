package admit

import (
	"context"
	"net"
	"sync/atomic"
)

// guestConn is a connection that holds a place for computing while its handshake computes, and gives it back while it
// waits for the other side. The handshake's goroutine alone uses it until it is settled.
type guestConn struct {
	net.Conn
	ctx     context.Context // of the handshake
	work    chan struct{}
	shaking bool
	holds   bool
	spoke   *atomic.Bool
	leave   func() // what closing makes room for; nil for nothing
}

// Write answers the other side, which has said something then.
func (c *guestConn) Write(p []byte) (int, error) {
	if c.shaking {
		c.spoke.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *guestConn) Read(p []byte) (int, error) {
	if !c.shaking {
		return c.Conn.Read(p)
	}
	c.release()
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, err
	}
	select {
	case c.work <- struct{}{}:
		c.holds = true
		return n, nil
	case <-c.ctx.Done():
		return 0, context.Cause(c.ctx)
	}
}

func (c *guestConn) release() {
	if c.holds {
		c.holds = false
		<-c.work
	}
}

// settle ends the handshake.
func (c *guestConn) settle() {
	c.release()
	c.shaking = false
}

// Close makes room. It may be called more than once.
func (c *guestConn) Close() error {
	if c.leave != nil {
		defer c.leave()
	}
	return c.Conn.Close()
}
