package nodes

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// presence is what this server knows of a node's agent. Its fields are guarded by Service.mu. One goroutine compares it
// with what it last committed, so that a quick reconnect can never leave an old status behind a new one.
type presence struct {
	sess  *session          // nil without one
	seen  time.Time         // when the agent was last heard, without a session
	facts []byte            // not committed yet
	known gestor.NodeStatus // committed last; empty if not by this server
}

// arrived and left record a session's begin and end; Service.mu is held.
func (s *Service) arrived(sess *session, facts []byte) {
	p := s.presence[sess.node]
	if p == nil {
		p = &presence{}
		s.presence[sess.node] = p
	}
	p.sess, p.known = sess, ""
	p.facts = facts
	s.stir()
}

// maxFacts bounds what an agent may have stored of its host.
const maxFacts = 64 << 10

func (s *Service) left(sess *session) {
	p := s.presence[sess.node]
	if p == nil {
		return
	}
	p.sess, p.seen = nil, time.Now()
	s.stir()
}

func (s *Service) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// status is what the node is now.
func (p *presence) status(now time.Time, t Times) gestor.NodeStatus {
	switch {
	case p.sess == nil && now.Sub(p.seen) >= t.Lost:
		return gestor.NodeLost
	case p.sess == nil, p.silent(now) >= t.Suspect:
		return gestor.NodeSuspect
	}
	return gestor.NodeConnected
}

func (p *presence) silent(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, p.sess.seen.Load()))
}

// guard commits changes of status and ends silent sessions, until ctx ends.
func (s *Service) guard(ctx context.Context) error {
	tick := time.NewTicker(s.times.Heartbeat / 5)
	defer tick.Stop()
	for {
		s.settle(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// change is a status to commit.
type change struct {
	node   gestor.NodeID
	sess   *session
	status gestor.NodeStatus
	facts  []byte
}

// settle commits, at once, every status that differs from the one committed last.
func (s *Service) settle(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(64)
	for _, c := range s.changes(time.Now()) {
		g.Go(func() error {
			s.commit(ctx, c)
			return nil
		})
	}
	_ = g.Wait()
}

func (s *Service) changes(now time.Time) []change {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []change
	for id, p := range s.presence {
		if p.sess != nil && p.silent(now) >= s.times.Lost {
			p.sess.end(fault.Timeout("nothing was heard of the agent for %s", s.times.Lost))
		}
		if status := p.status(now, s.times); status != p.known {
			out = append(out, change{id, p.sess, status, p.facts})
		}
	}
	return out
}

func (s *Service) commit(ctx context.Context, c change) {
	op := command.SetNodeStatus{ID: c.node, Status: c.status, Facts: c.facts}
	err := s.propose(ctx, gestor.SystemActor("nodes"), op)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.presence[c.node]
	switch {
	case p == nil || ctx.Err() != nil:
	case errors.Is(err, fault.KindNotFound):
		delete(s.presence, c.node)
	case err != nil:
		s.log.Warn("could not record a node's status", "node", c.node, "status", c.status, "err", err)
	case c.status == gestor.NodeLost && p.sess == nil:
		delete(s.presence, c.node)
	case p.sess == c.sess:
		p.known, p.facts = c.status, nil
	}
}

// RunTerm gives nodes that are recorded as connected, but hold no session, the time of Times.Lost to come back. It is
// run when this server begins to lead.
func (s *Service) RunTerm(ctx context.Context) error {
	nodes, err := s.engine.View(gestor.SystemScope()).AllNodes(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, n := range nodes {
		waits := n.Status == gestor.NodeConnected || n.Status == gestor.NodeSuspect
		if waits && s.presence[n.ID] == nil {
			s.presence[n.ID] = &presence{seen: time.Now(), known: n.Status}
		}
	}
	s.mu.Unlock()
	s.stir()
	<-ctx.Done()
	return nil
}

// revoke ends the sessions of nodes that were deleted.
func (s *Service) revoke(ctx context.Context) error {
	sub := s.engine.Watch(state.Nodes)
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		}
		for _, sess := range s.snapshot() {
			_, err := s.engine.View(gestor.SystemScope()).Node(ctx, sess.node)
			if errors.Is(err, fault.KindNotFound) {
				sess.end(goodbye{"this node was deleted", time.Hour})
			}
		}
	}
}
