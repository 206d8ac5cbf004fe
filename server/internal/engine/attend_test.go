package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
)

// silent is a leader that takes calls and never answers.
type silent struct{}

func (silent) Propose(ctx context.Context, _ string, _ []byte) (command.Receipt, error) {
	<-ctx.Done()
	return command.Receipt{}, fault.Cancelled("the call was cancelled")
}

func (silent) ReadIndex(ctx context.Context, _ string) (uint64, error) {
	<-ctx.Done()
	return 0, fault.Cancelled("the call was cancelled")
}

func TestAttended_ACallToALeaderThatIsSilentEndsWhenAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leader atomic.Value
		leader.Store("old")
		a := &attended{Forwarder: silent{}, leader: func() string { return leader.Load().(string) }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 3)
		go func() { done <- a.run(ctx) }()
		began := time.Now()
		go func() {
			_, err := a.Propose(ctx, "old", nil)
			done <- err
		}()
		go func() {
			_, err := a.ReadIndex(ctx, "old")
			done <- err
		}()
		<-time.After(time.Second)
		leader.Store("") // an election
		<-time.After(time.Second)
		if len(done) > 0 {
			t.Fatalf("a call ended while nobody leads: %v", <-done)
		}
		leader.Store("new")
		for range 2 {
			err := <-done
			if !errors.Is(err, fault.KindUnavailable) || errors.Is(err, cluster.ErrNotLeader) {
				t.Errorf("the call ended with %v, want it unavailable, and not said to be undone", err)
			}
		}
		if took := time.Since(began); took > 2*time.Second+2*lookOut {
			t.Errorf("the calls ended after %v", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
