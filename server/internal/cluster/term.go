package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrLeadershipLost is the cause a loop's context ends with when its term does.
var ErrLeadershipLost = errors.New("leadership lost")

// terms are the loops that run while this server leads.
type terms struct {
	loops []loop
	log   *slog.Logger
}

type loop struct {
	name string
	run  func(ctx context.Context) error
}

// OnTerm adds a loop that runs whenever this server leads: from when it has applied everything of the terms before until
// leadership ends, when ctx is cancelled with ErrLeadershipLost. A loop that returns early is started again, after an
// error with a growing pause. It is called before Run.
func (c *Cluster) OnTerm(name string, run func(ctx context.Context) error) {
	c.terms.loops = append(c.terms.loops, loop{name, run})
}

// checkpointEvery is how often the leader has the log verified.
const checkpointEvery = time.Minute

// Run runs the loops of OnTerm in every term of this server, until ctx ends.
func (c *Cluster) Run(ctx context.Context) error {
	c.OnTerm("verify", c.checkpoints)
	for ctx.Err() == nil {
		// A change that is missed because it was taken back at once is seen as a term that ended.
		if !c.IsLeader() {
			select {
			case <-c.raft.LeaderCh():
			case <-ctx.Done():
			}
			continue
		}
		number := c.raft.CurrentTerm()
		if err := c.raft.Barrier(0).Error(); err != nil || c.raft.CurrentTerm() != number {
			continue
		}
		c.term(ctx, number)
	}
	return nil
}

// term runs the loops until leadership changes in any way.
func (c *Cluster) term(ctx context.Context, number uint64) {
	term, end := context.WithCancelCause(ctx)
	defer end(nil)
	c.ready.Store(number)
	defer c.ready.Store(0)
	c.log.Info("leading", "term", number)
	var wg sync.WaitGroup
	for _, l := range c.terms.loops {
		wg.Go(func() { c.terms.keep(term, l) })
	}
	for leading := true; leading; {
		select {
		case <-c.raft.LeaderCh():
			leading = c.IsLeader() && c.raft.CurrentTerm() == number
		case <-ctx.Done():
			leading = false
		}
	}
	end(ErrLeadershipLost)
	wg.Wait()
	c.log.Info("no longer leading", "term", number)
}

// keep runs one loop again and again while the term lasts.
func (t *terms) keep(ctx context.Context, l loop) {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	for pause := first; ctx.Err() == nil; pause = min(2*pause, most) {
		started := time.Now()
		err := l.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > most {
			pause = first
		}
		t.log.Error("a leader loop ended early", "loop", l.name, "err", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// checkpoints marks places in the log up to which the verifier reads it back.
func (c *Cluster) checkpoints(ctx context.Context) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	last := c.raft.LastIndex()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if c.raft.LastIndex() == last {
			continue
		}
		future := c.raft.Apply(nil, 0)
		if err := future.Error(); err != nil {
			return err
		}
		last = future.Index()
	}
}
