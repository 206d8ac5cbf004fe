package nodes

import (
	"context"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// guard ends the sessions of agents that have fallen silent, until ctx ends.
func (s *Service) guard(ctx context.Context) error {
	tick := time.NewTicker(s.times.Heartbeat / 5)
	defer tick.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if time.Since(last) > s.times.Suspect/2 {
			continue // this server stood still: it has not read what they said meanwhile
		}
		for _, sess := range s.snapshot() {
			if time.Since(sess.heard()) >= s.times.Lost {
				sess.end(fault.Timeout("nothing was heard of the agent for %s", s.times.Lost))
			}
		}
	}
}

// revokeEvery is the least time between two looks for deleted nodes.
const revokeEvery = time.Second

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
		sessions := s.snapshot()
		ids, err := s.engine.View(gestor.SystemScope()).NodeIDs(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("could not look for deleted nodes", "err", err)
		}
		for _, sess := range sessions {
			if err == nil && !ids[sess.node] {
				sess.end(goodbye{"this node was deleted", time.Hour})
			}
		}
		if len(sessions) > 100 {
			pause(ctx, revokeEvery)
		}
	}
}

func (s *Service) snapshot() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, sess := range s.sessions {
		out = append(out, sess)
	}
	return out
}

// addresses is where agents reach the servers, read at most once a second however many ask.
type addresses struct {
	read func(ctx context.Context) ([]string, error)

	mu    sync.Mutex
	known []string
	until time.Time
}

func (a *addresses) get(ctx context.Context) []string {
	if a.read == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().After(a.until) {
		a.renew(ctx)
	}
	return a.known
}

// fresh reads them anew.
func (a *addresses) fresh(ctx context.Context) []string {
	if a.read == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.renew(ctx)
	return a.known
}

// renew reads; a.mu is held.
func (a *addresses) renew(ctx context.Context) {
	if known, err := a.read(ctx); err == nil {
		a.known, a.until = known, time.Now().Add(time.Second)
	}
}
