package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Group commit: one entry carries the commands of all callers that wait, within these bounds.
const (
	maxCommands = 512       // in an entry
	maxBytes    = 512 << 10 // in an entry; a larger command gets an entry of its own
	maxInFlight = 4         // entries that are not committed yet
	maxQueue    = 8192      // commands that wait; more are refused
)

// retryAfter is when a refused caller should come again: about the time of an election or of a full queue.
const retryAfter = 500 * time.Millisecond

// ErrUnknown means that leadership or the process ended while a command was under way: it may be applied or not.
// Proposing it again with the same request id settles it.
var ErrUnknown = fault.Unavailable("the server lost its leadership meanwhile, the outcome is not known").
	WithFix("try again").WithRetryAfter(retryAfter)

// proposal is one command on its way.
type proposal struct {
	data []byte
	done chan outcome // takes one
}

type outcome struct {
	result any
	err    error
}

// applier is what the batcher needs of Raft.
type applier interface {
	Apply(cmd []byte, timeout time.Duration) raft.ApplyFuture
	State() raft.RaftState
}

// batcher gathers proposals into entries, in the order they came.
type batcher struct {
	raft  applier
	queue chan *proposal
	slots chan struct{}      // one for each entry in flight
	ended chan struct{}      // closed when run returns
	made  func(commands int) // is told of every entry; may be nil
	next  *proposal          // taken from the queue, did not fit; belongs to run
}

func newBatcher(r applier) *batcher {
	return &batcher{
		raft:  r,
		queue: make(chan *proposal, maxQueue),
		slots: make(chan struct{}, maxInFlight),
		ended: make(chan struct{}),
	}
}

// Propose replicates one command and returns what the state machine answered to it.
func (c *Cluster) Propose(ctx context.Context, data []byte) (any, error) {
	return c.batcher.propose(ctx, data)
}

func (b *batcher) propose(ctx context.Context, data []byte) (any, error) {
	if b.raft.State() != raft.Leader {
		return nil, notLeader()
	}
	p := &proposal{data: data, done: make(chan outcome, 1)}
	select {
	case b.queue <- p:
	default:
		return nil, fault.Exhausted("the server has %d changes waiting", maxQueue).
			WithFix("try again in a moment").WithRetryAfter(retryAfter)
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-b.ended:
		return nil, ErrUnknown
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ErrNotLeader means that this server does not lead, so that a command was certainly not taken.
var ErrNotLeader = errors.New("not the leader")

func notLeader() error {
	return fault.Unavailable("this server does not lead the cluster").WithFix("try again").WithRetryAfter(retryAfter).
		WithCause(ErrNotLeader)
}

// run builds entries until ctx ends. Nothing lingers: what waits when a slot is free goes.
func (b *batcher) run(ctx context.Context) {
	defer close(b.ended)
	for {
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		batch := b.gather(ctx)
		if batch == nil {
			return
		}
		if b.made != nil {
			b.made(len(batch))
		}
		future := b.raft.Apply(frame(batch), 0)
		go func() {
			settle(future, batch)
			<-b.slots
		}()
	}
}

// gather waits for a first proposal and takes those that are behind it; nil when ctx ends.
func (b *batcher) gather(ctx context.Context) []*proposal {
	first := b.next
	b.next = nil
	if first == nil {
		select {
		case first = <-b.queue:
		case <-ctx.Done():
			return nil
		}
	}
	batch, size := []*proposal{first}, len(first.data)
	for len(batch) < maxCommands {
		select {
		case p := <-b.queue:
			if size += len(p.data); size > maxBytes {
				b.next = p
				return batch
			}
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

// frame writes the entry; gestor.raft.v1.Batch reads it.
func frame(batch []*proposal) []byte {
	var out []byte
	for _, p := range batch {
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, p.data)
	}
	return out
}

// settle waits for an entry and tells its callers. It ends when Raft does, at the latest.
func settle(future raft.ApplyFuture, batch []*proposal) {
	err := future.Error()
	if err != nil {
		for _, p := range batch {
			p.done <- outcome{err: translate(err)}
		}
		return
	}
	results, ok := future.Response().([]any)
	for i, p := range batch {
		if !ok || i >= len(results) {
			p.done <- outcome{err: errors.New("the state machine gave no answer")}
			continue
		}
		p.done <- outcome{result: results[i]}
	}
}

func translate(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return notLeader()
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
		return ErrUnknown
	}
	return err
}
