package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// reads confirms leadership for many readers at a time. A confirmation that was under way when a reader came does not
// count for it: what was committed in between might be missing. It waits for the next.
type reads struct {
	raft  *raft.Raft
	logs  raft.LogStore
	ready func() bool   // whether this server leads and has applied everything of earlier terms
	done  func() uint64 // the last index that is in the machine

	mu      sync.Mutex
	running bool   // guarded by mu
	next    *round // guarded by mu; of readers that came while one was running
}

// round is one confirmation and what came of it.
type round struct {
	done  chan struct{}
	index uint64
	err   error
}

func newRound() *round { return &round{done: make(chan struct{})} }

func (r *reads) index(ctx context.Context) (uint64, error) {
	mine := r.join()
	select {
	case <-mine.done:
		return mine.index, mine.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// join returns a round that begins after the call.
func (r *reads) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = newRound()
	}
	mine := r.next
	if !r.running {
		r.running = true
		go r.run() // ends when no reader waits; a confirmation ends with Raft at the latest
	}
	return mine
}

func (r *reads) run() {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		r.running = now != nil
		r.mu.Unlock()
		if now == nil {
			return
		}
		now.index, now.err = r.confirm()
		close(now.done)
	}
}

// confirm is the read index of Ongaro's thesis, 6.4: note the commit index, then have a majority confirm the leader. A
// leader knows the commit index only once it has committed something in its own term.
func (r *reads) confirm() (uint64, error) {
	if !r.ready() {
		return 0, notLeader()
	}
	index := r.raft.CommitIndex()
	if err := r.raft.VerifyLeader().Error(); err != nil {
		return 0, translate(err)
	}
	return r.lastCommand(index)
}

// lastCommand is the last index up to index at which the machine has or will have something to apply. Raft's own
// entries never reach it, so that nobody must wait for them.
func (r *reads) lastCommand(index uint64) (uint64, error) {
	done := r.done()
	for ; index > done; index-- {
		var l raft.Log
		if err := r.logs.GetLog(index, &l); err != nil {
			return 0, fmt.Errorf("read log entry %d: %w", index, err)
		}
		if isCommand(&l) {
			return index, nil
		}
	}
	return done, nil
}
