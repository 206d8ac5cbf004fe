package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
)

// attended ends a call to a leader when another server is known to lead: one that is stopped or cut off answers nothing, and
// only its connection's time-out, seconds later, would tell.
type attended struct {
	Forwarder
	leader func() string // as this server knows now; empty for none

	mu    sync.Mutex
	calls map[*call]struct{}
}

// call is one under way.
type call struct {
	leader string
	cancel context.CancelCauseFunc
}

// errDeposed is why a call to a leader was ended.
var errDeposed = errors.New("another server leads now")

// Propose implements Forwarder.
func (a *attended) Propose(ctx context.Context, leader string, data []byte) (receipt command.Receipt, err error) {
	err = a.attend(ctx, leader, func(ctx context.Context) error {
		receipt, err = a.Forwarder.Propose(ctx, leader, data)
		return err
	})
	return receipt, err
}

// ReadIndex implements Forwarder.
func (a *attended) ReadIndex(ctx context.Context, leader string) (revision uint64, err error) {
	err = a.attend(ctx, leader, func(ctx context.Context) error {
		revision, err = a.Forwarder.ReadIndex(ctx, leader)
		return err
	})
	return revision, err
}

func (a *attended) attend(ctx context.Context, leader string, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &call{leader: leader, cancel: cancel}
	a.mu.Lock()
	if a.calls == nil {
		a.calls = map[*call]struct{}{}
	}
	a.calls[c] = struct{}{}
	a.mu.Unlock()
	err := do(ctx)
	a.mu.Lock()
	delete(a.calls, c)
	a.mu.Unlock()
	if err != nil && errors.Is(context.Cause(ctx), errDeposed) { // what became of it is not known
		return fault.Unavailable("the server that led did not answer, and another leads now").WithRetryAfter(retrySoon).WithCause(errDeposed)
	}
	return err
}

// run looks for another leader until ctx ends.
func (a *attended) run(ctx context.Context) error {
	tick := time.NewTicker(lookOut)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.look()
		}
	}
}

// look ends the calls to servers that lead no more. While nobody leads they go on: it may be the same one that comes back.
func (a *attended) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.calls) == 0 {
		return
	}
	now := a.leader()
	for c := range a.calls {
		if now != "" && now != c.leader {
			c.cancel(errDeposed)
		}
	}
}
