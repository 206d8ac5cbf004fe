package cluster

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// contacts is a transport that notes which servers took this one for their leader, and after which moment they were asked.
//
// raft.VerifyLeader is confirmed by whatever answer comes next, also by one to a question that was asked before: a leader
// that was paused finds such answers when it goes on, and another may have led and written meanwhile. It counts
// servers without a vote, too. So a read needs more than that, see heard.
type contacts struct {
	raft.Transport
	clock atomic.Uint64 // moments, in order

	mu    sync.Mutex
	heard map[raft.ServerID]contact // guarded by mu
}

// contact is the latest question that a server answered as a follower of this one.
type contact struct {
	term  uint64
	asked uint64 // the moment before it was sent
}

var _ raft.WithPreVote = (*contacts)(nil)

func newContacts(t Transport) *contacts {
	return &contacts{Transport: t, heard: map[raft.ServerID]contact{}}
}

// moment is now: what is asked after the call has a later one.
func (c *contacts) moment() uint64 { return c.clock.Add(1) }

// AppendEntries implements raft.Transport. Heartbeats come this way; entries in pipelines need not be counted.
func (c *contacts) AppendEntries(
	id raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	asked := c.moment()
	if err := c.Transport.AppendEntries(id, at, args, resp); err != nil {
		return err
	}
	if !resp.Success || resp.Term != args.Term {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.heard[id]
	if args.Term > last.term || args.Term == last.term && asked > last.asked {
		c.heard[id] = contact{term: args.Term, asked: asked}
	}
	return nil
}

// followed reports whether a majority of the voters, self among them, was in that term when asked after a moment. Then
// nobody led in a later term at that moment: a majority would have voted, and a server's term never falls.
func (c *contacts) followed(servers []raft.Server, self raft.ServerID, term, moment uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, with := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		all++
		if h := c.heard[s.ID]; s.ID == self || h.term == term && h.asked > moment {
			with++
		}
	}
	return with > all/2
}

// RequestPreVote implements raft.WithPreVote.
func (c *contacts) RequestPreVote(
	id raft.ServerID, at raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	t, ok := c.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("the transport knows no votes before votes")
	}
	return t.RequestPreVote(id, at, args, resp)
}

// Close implements raft.WithClose.
func (c *contacts) Close() error {
	if t, ok := c.Transport.(raft.WithClose); ok {
		return t.Close()
	}
	return nil
}
