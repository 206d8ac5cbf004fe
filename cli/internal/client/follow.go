package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Follow reads a stream to its end and takes it up again when the connection breaks, on another server if the client knows
// one: that is what Open does. It gives up after two minutes
// without a message, or when the server says something final.
type Follow[T any] struct {
	// Open begins the stream after what Each has already seen.
	Open func(ctx context.Context) (*connect.ServerStreamForClient[T], error)
	// Each takes a message; ErrStop ends the stream in good order.
	Each func(*T) error
	// Whole, if set, tells whether a stream that ended in good order has said all. If not, the server left early.
	Whole func() bool
	// Broken, if set, is told once per outage that lasts longer than Grace, and Back when it is over.
	Broken func(error)
	Back   func()
	Grace  time.Duration

	outage time.Time
	told   bool
}

// ErrStop is what Each returns when it has seen enough.
var ErrStop = errors.New("seen enough")

const (
	outageLimit  = 2 * time.Minute
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second
	longestWait  = 10 * time.Second // whatever a server asks for
)

// jitter keeps those whom one server lost from coming back as one.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) } //nolint:gosec // jitter

// Run follows until the stream ends.
func (f *Follow[T]) Run(ctx context.Context) error {
	wait := firstBackoff
	for {
		got, err := f.once(ctx)
		if err == nil && f.Whole != nil && !f.Whole() {
			err = fault.Unavailable("the server ended the stream early")
		}
		if err == nil || errors.Is(err, ErrStop) {
			return nil
		}
		if got {
			wait = firstBackoff
		}
		if ctx.Err() != nil || !f.mayResume(err) {
			return err
		}
		if pause(ctx, max(jitter(wait), min(retryAfter(err), longestWait))) != nil {
			return err
		}
		wait = min(2*wait, lastBackoff)
	}
}

// mayResume decides whether the outage may go on, and announces one that lasts.
func (f *Follow[T]) mayResume(err error) bool {
	if !resumable(err) {
		return false
	}
	if f.outage.IsZero() {
		f.outage = time.Now()
	}
	if f.Broken != nil && !f.told && time.Since(f.outage) >= f.Grace {
		f.told = true
		f.Broken(err)
	}
	return time.Since(f.outage) < outageLimit
}

// resumable tells an outage, or a server that dropped a slow reader, from one that says no.
func resumable(err error) bool {
	return rpc.Outage(err) || fault.KindOf(err) == fault.KindExhausted && retryAfter(err) > 0
}

func retryAfter(err error) time.Duration {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.RetryAfter
	}
	return 0
}

// once reads one connection's worth and reports whether anything came.
func (f *Follow[T]) once(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }()
	got := false
	for stream.Receive() {
		got = true
		f.restored()
		if err := f.Each(stream.Msg()); err != nil {
			return got, err
		}
	}
	return got, stream.Err()
}

func (f *Follow[T]) restored() {
	if f.outage.IsZero() {
		return
	}
	told := f.told
	f.outage, f.told = time.Time{}, false
	if told && f.Back != nil {
		f.Back()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
