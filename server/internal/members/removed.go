package members

import (
	"context"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const refusals = 3 // rounds in a row in which the others do not take this server in, before it believes them

// RunRemoved waits until this server was taken out of the cluster, and returns an error that says so; nil when ctx ends. It knows
// from the leader, or, where it missed that, from the others: no leader speaks to it, most of them refuse it, and none
// takes it in.
func (s *Service) RunRemoved(ctx context.Context) error {
	tick := time.NewTicker(s.o.Silence / 5)
	defer tick.Stop()
	started, refused := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.out:
			return removed(s.self())
		case <-tick.C:
		}
		if time.Since(latest(started, s.o.Engine.LastContact())) < s.patience() || !s.refused(ctx) {
			refused = 0
			continue
		}
		if refused++; refused >= refusals {
			return removed(s.self())
		}
	}
}

// patience is how long no leader may be heard of before the others are asked. It is shorter for one that sees itself that it
// is no member any more; that alone proves nothing.
func (s *Service) patience() time.Duration {
	if s.seesItselfOut() {
		return s.o.Silence / 5
	}
	return s.o.Silence
}

func (s *Service) seesItselfOut() bool {
	members := s.o.Engine.Members()
	return len(members) > 0 && !slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == s.o.Engine.ID() })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func removed(id gestor.ServerID) error {
	return fault.Conflict("this server, %s, was removed from the cluster", id).
		WithFix("nothing it holds is needed any more; to use the host again, empty its data directory and join with a new token: gestor servers add")
}

// refused reports whether the others take this server for a stranger: more than half of them, and nobody does not. One
// alone may only not know of it yet, because it was away when this server joined; it is enough where this server sees
// itself that it is no member any more.
func (s *Service) refused(ctx context.Context) bool {
	others := s.others()
	answers := each(others, func(id gestor.ServerID) (bool, bool) {
		refused, err := s.o.Port.Refuses(ctx, string(id))
		return refused, err == nil
	})
	for _, refused := range answers {
		if !refused {
			return false
		}
	}
	return len(answers) > len(others)/2 || len(answers) > 0 && s.seesItselfOut()
}
