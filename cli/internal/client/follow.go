package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Follow reads a stream to its end and takes it up again when the connection breaks. It gives up after two minutes
// without a message, or when the server says something final.
type Follow[T any] struct {
	// Open begins the stream after what Each has already seen.
	Open func(ctx context.Context) (*connect.ServerStreamForClient[T], error)
	// Each takes a message; ErrStop ends the stream in good order.
	Each func(*T) error
	// Whole, if set, tells whether a stream that ended in good order has said all. If not, the server left early.
	Whole func() bool
	// Broken, if set, is told once per outage, and Back when it is over.
	Broken func(error)
	Back   func()

	outage time.Time
}

// ErrStop is what Each returns when it has seen enough.
var ErrStop = errors.New("seen enough")

const (
	outageLimit  = 2 * time.Minute
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

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
		if pause(ctx, wait) != nil {
			return err
		}
		wait = min(2*wait, lastBackoff)
	}
}

// mayResume decides whether the outage may go on, and announces its beginning.
func (f *Follow[T]) mayResume(err error) bool {
	if !isOutage(err) {
		return false
	}
	if f.outage.IsZero() {
		f.outage = time.Now()
		if f.Broken != nil {
			f.Broken(err)
		}
	}
	return time.Since(f.outage) < outageLimit
}

// isOutage tells a server that is away from one that says no. What Connect's own side complains of, a message cut off
// in the middle say, did not come from a server's mouth and counts as the connection's fault.
func isOutage(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindTimeout, fault.KindCancelled:
		return true
	default:
		_, ok := errors.AsType[*connect.Error](err)
		return ok && !connect.IsWireError(err)
	}
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
	f.outage = time.Time{}
	if f.Back != nil {
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
