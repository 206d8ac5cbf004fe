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
	raft     confirmer
	self     raft.ServerID
	contacts *contacts
	logs     raft.LogStore
	term     func() uint64 // in which this server leads and has applied everything of earlier ones; 0 if it does not
	done     func() uint64 // the last index that is in the machine

	mu      sync.Mutex
	running bool   // guarded by mu
	next    *round // guarded by mu; of readers that came while one was running
}

// confirmer is what reads need of Raft.
type confirmer interface {
	CommitIndex() uint64
	VerifyLeader() raft.Future
	GetConfiguration() raft.ConfigurationFuture
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

// confirm is the read index of Ongaro's thesis, 6.4: note the commit index, then have a majority confirm the leader, by
// answers to what it was asked after that. A leader knows the commit index only once it has committed something in its own
// term.
func (r *reads) confirm() (uint64, error) {
	term := r.term()
	if term == 0 {
		return 0, notLeader()
	}
	moment, index := r.contacts.moment(), r.raft.CommitIndex()
	for {
		// This sends heartbeats at once. It ends with the lease at the latest when no majority answers.
		if err := r.raft.VerifyLeader().Error(); err != nil {
			return 0, translate(err)
		}
		members := r.raft.GetConfiguration()
		if err := members.Error(); err != nil {
			return 0, translate(err)
		}
		if r.contacts.followed(members.Configuration().Servers, r.self, term, moment) {
			return r.lastCommand(index)
		}
		if r.term() != term {
			return 0, notLeader()
		}
	}
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
