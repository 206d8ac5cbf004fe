package members

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const (
	knockEvery   = time.Second     // while no leader is heard of
	silenceLimit = 5 * time.Second // of leaders, before the others are asked whether this server belongs to them
	refusals     = 3               // rounds in a row in which it does not
)

// RunRemoved waits until this server was taken out of the cluster, and returns an error that says so; nil when ctx ends. It knows
// from the leader, or, where it missed that, from the others: no leader speaks to it, some server refuses it, and none
// takes it in.
func (s *Service) RunRemoved(ctx context.Context) error {
	tick := time.NewTicker(knockEvery)
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
		heard := s.o.Engine.LastContact()
		if heard.Before(started) {
			heard = started
		}
		if time.Since(heard) < silenceLimit || !s.refused(ctx) {
			refused = 0
			continue
		}
		if refused++; refused >= refusals {
			return removed(s.self())
		}
	}
}

func removed(id gestor.ServerID) error {
	return fault.Conflict("this server, %s, was removed from the cluster", id).
		WithFix("nothing it holds is needed any more; to use the host again, empty its data directory and join with a new token: gestor servers add")
}

// refused reports whether the others take this server for a stranger: at least one of them, and nobody does not.
func (s *Service) refused(ctx context.Context) bool {
	var ids []gestor.ServerID
	for _, m := range s.o.Port.Others() {
		ids = append(ids, gestor.ServerID(m.ID))
	}
	answers := each(ids, func(id gestor.ServerID) (bool, bool) {
		refused, err := s.o.Port.Refuses(ctx, string(id))
		return refused, err == nil
	})
	for _, refused := range answers {
		if !refused {
			return false
		}
	}
	return len(answers) > 0
}
