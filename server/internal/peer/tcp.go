package peer

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCP is the network outside of tests. A host that has vanished is noticed within deaf, whatever waits for it: Raft reads
// a snapshot without any limit of time, in the one goroutine that could also vote, and gives the sending of one many minutes.
type TCP struct{}

const deaf = 10 * time.Second // without an answer, until a connection is given up

// Listen implements Network.
func (TCP) Listen(ctx context.Context, address string) (net.Listener, error) {
	// What is accepted has the listener's option.
	return (&net.ListenConfig{Control: limitSilence, KeepAliveConfig: probes()}).Listen(ctx, "tcp", address)
}

// Dial implements Network.
func (TCP) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: limitSilence, KeepAliveConfig: probes()}
	return d.DialContext(ctx, "tcp", address)
}

// probes are for a connection on which this side only reads.
func probes() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: deaf / 2, Interval: deaf / 5, Count: 3}
}

// limitSilence is for one on which it writes: what was sent has to be acknowledged.
func limitSilence(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deaf.Milliseconds()))
	})
	return errors.Join(err, failed)
}
