package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Member is a server in Raft's configuration.
type Member struct {
	ID      string
	Address string // peer address, host:port
	Voter   bool
}

// Members are the servers of the newest configuration this server knows, committed or not.
func (c *Cluster) Members() []Member {
	future := c.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	var out []Member
	for _, s := range future.Configuration().Servers {
		out = append(out, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// membershipTimeout bounds the wait for a change of the configuration to be taken up by Raft.
const membershipTimeout = 10 * time.Second

// AddStandby makes a server get every change without a vote. For a member it changes the address and keeps the vote.
func (c *Cluster) AddStandby(id, address string) error {
	for _, m := range c.Members() {
		if m.ID == id && m.Voter {
			return c.changed("move server "+id, c.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, membershipTimeout))
		}
	}
	return c.changed("add server "+id, c.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, membershipTimeout))
}

// Promote gives a standby its vote.
func (c *Cluster) Promote(id string) error {
	for _, m := range c.Members() {
		if m.ID == id {
			return c.changed("promote server "+id, c.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(m.Address), 0, membershipTimeout))
		}
	}
	return fault.NotFound("server %s is no member", id)
}

// RemoveMember takes a server out of the configuration; one that is not in it is fine.
func (c *Cluster) RemoveMember(id string) error {
	return c.changed("remove server "+id, c.raft.RemoveServer(raft.ServerID(id), 0, membershipTimeout))
}

func (c *Cluster) changed(what string, future raft.IndexFuture) error {
	if err := future.Error(); err != nil {
		return fmt.Errorf("%s: %w", what, translate(err))
	}
	return nil
}

// TransferLeader hands leadership to the voter with that id, or to the most up to date one if it is empty. It returns once
// this server no longer leads.
func (c *Cluster) TransferLeader(id string) error {
	if id == "" {
		return handedOver(c.raft.LeadershipTransfer())
	}
	for _, m := range c.Members() {
		if m.ID == id {
			return handedOver(c.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(m.Address)))
		}
	}
	return fault.NotFound("server %s is no member", id)
}

// handedOver waits for a transfer. One that did not come about changed nothing: this server goes on leading.
func handedOver(f raft.Future) error {
	err := translate(f.Error())
	if _, told := errors.AsType[*fault.Error](err); err == nil || told {
		return err
	}
	return fault.Unavailable("the other server did not take the lead over in time, and nothing has changed").
		WithFix("try again in a moment; it may be busy, or catching up").WithRetryAfter(time.Second).WithCause(err)
}

// ReadIndex returns an index that holds everything committed before the call; a majority has confirmed that this server
// leads. Calls that wait at the same time share one confirmation.
func (c *Cluster) ReadIndex(ctx context.Context) (uint64, error) { return c.reads.index(ctx) }

// Progress is the last index this server has in its log.
func (c *Cluster) Progress() (last uint64) { return c.raft.LastIndex() }

// LastContact is when this server last heard of a leader; now if it leads.
func (c *Cluster) LastContact() time.Time {
	if c.IsLeader() {
		return time.Now()
	}
	return c.raft.LastContact()
}

// Stats are numbers for people and their monitoring.
type Stats struct {
	Leader      bool
	Term        uint64
	Commit      uint64        // the last committed entry this server knows of
	Applied     uint64        // the last entry that is in the state, or needs not be
	Last        uint64        // the last entry in its log
	Snapshot    uint64        // the last entry in its newest snapshot
	LastContact time.Duration // since it heard of a leader; 0 if it leads
	Queue       int           // commands that wait for an entry
	InFlight    int           // entries that wait for a majority
}

// Stats returns them as of now.
func (c *Cluster) Stats() Stats {
	s := Stats{
		Leader: c.IsLeader(), Term: c.raft.CurrentTerm(), Commit: c.raft.CommitIndex(),
		Applied: c.raft.AppliedIndex(), Last: c.raft.LastIndex(),
		Queue: len(c.batcher.queue), InFlight: len(c.batcher.slots),
	}
	if n, err := strconv.ParseUint(c.raft.Stats()["last_snapshot_index"], 10, 64); err == nil {
		s.Snapshot = n
	}
	if !s.Leader {
		s.LastContact = time.Since(c.raft.LastContact())
	}
	return s
}
