package members

import (
	"context"
	"errors"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

const (
	announceEvery = 15 * time.Second       // although nothing has changed
	announceAgain = time.Second            // after it did not work
	announceLook  = 200 * time.Millisecond // whether the leader or this server's own word has changed
	announceLimit = 5 * time.Second
	lonelyLimit   = 15 * time.Second // for the leader to take in a server that has joined, before that is worth a word
)

// RunAnnounce tells every leader who this server is, and again whenever that changes. It returns nil when ctx ends.
func (s *Service) RunAnnounce(ctx context.Context) error {
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	last, alone := announcement{}, time.Now()
	for {
		alone = s.lonely(alone)
		if leader := s.whoLeads(ctx, &last); leader != "" && last.due(time.Now(), leader, s.o.Self()) {
			last = s.announce(ctx, leader)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// lonely says so, from time to time, while no server has reached this one since it joined: before that it knows nobody it could
// ask. It returns since when that was not said.
func (s *Service) lonely(since time.Time) time.Time {
	if time.Since(since) < lonelyLimit || len(s.o.Engine.Members()) > 0 {
		return since
	}
	s.o.Log.Warn("no server has reached this one yet: see that the others can connect to this address", "peer_address", s.o.Self().PeerAddress)
	return time.Now()
}

// announcement is what was told to whom.
type announcement struct {
	leader string
	self   gestor.Server
	next   time.Time // when to tell it again
	asked  time.Time // when a leader was last known or asked for
}

func (a announcement) due(now time.Time, leader string, self gestor.Server) bool {
	return a.leader != leader || !self.Same(a.self) || !now.Before(a.next)
}

// whoLeads is the leader as this server knows it, or, where none has spoken to it for a while, as the others do: a server that
// came back at another address is spoken to only once it has announced that.
func (s *Service) whoLeads(ctx context.Context, last *announcement) string {
	if leader := s.o.Engine.Leader(); leader != "" {
		last.asked = time.Now()
		return leader
	}
	if time.Since(last.asked) < announceAgain {
		return ""
	}
	last.asked = time.Now()
	for id, status := range s.Statuses(ctx, s.others()) {
		if status.GetLeader() == string(id) {
			return string(id)
		}
	}
	return ""
}

// others are the ids of the other members.
func (s *Service) others() []gestor.ServerID {
	var out []gestor.ServerID
	for _, m := range s.o.Port.Others() {
		out = append(out, gestor.ServerID(m.ID))
	}
	return out
}

func (s *Service) announce(ctx context.Context, leader string) announcement {
	self := s.o.Self()
	err := s.tell(ctx, leader, self)
	told := announcement{leader: leader, self: self, next: time.Now().Add(announceEvery), asked: time.Now()}
	if err == nil || ctx.Err() != nil {
		return told
	}
	// The leader's own word counts; that this server, which is about to join, does not know the leader yet is a cause only.
	if leader != s.o.Engine.ID() && fault.KindOf(err) == fault.KindNotFound {
		s.outOnce.Do(func() { close(s.out) })
	}
	told.next = time.Now().Add(announceAgain)
	if !errors.Is(err, fault.KindUnavailable) && !errors.Is(err, fault.KindTimeout) {
		told.next = time.Now().Add(announceEvery) // what is refused stays refused
		s.o.Log.Warn("the leader does not take this server's word", "leader", leader, "err", err)
	}
	return told
}

func (s *Service) tell(ctx context.Context, leader string, self gestor.Server) error {
	ctx, cancel := context.WithTimeout(ctx, announceLimit)
	defer cancel()
	req := &peerv1.AnnounceRequest{Server: &peerv1.ServerInfo{
		Id: string(self.ID), Name: self.Name, PeerAddress: self.PeerAddress, Addresses: self.Addresses, Version: self.Version, Level: self.Level,
	}}
	if leader == s.o.Engine.ID() {
		_, err := s.Announce(peer.WithCaller(ctx, leader), req)
		return err
	}
	c, err := clientOf(s.o.Port, leader)
	if err != nil {
		return unreached(err)
	}
	_, err = c.Announce(ctx, req)
	return err
}
