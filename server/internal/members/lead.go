package members

import (
	"context"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// RunTerm makes Raft's configuration what the servers table says, for as long as this server leads.
func (s *Service) RunTerm(ctx context.Context) error {
	changes := s.o.Engine.Watch(state.Servers)
	defer changes.Close()
	tick := time.NewTicker(s.o.Interval)
	defer tick.Stop()
	var standbys standbys
	for {
		if err := s.reconcile(ctx, standbys.ready); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
		case <-tick.C:
			s.look(ctx, &standbys)
		}
	}
}

// standbys is what the leader knows of servers without a vote.
type standbys struct {
	before progress                 // the leader's own at the last look; zero at the first
	ready  map[gestor.ServerID]bool // those that had it all at this one
}

// progress is how far a server is.
type progress struct{ revision, last uint64 }

// look asks the standbys how far they are. One has caught up that has now what the leader had one look ago.
func (s *Service) look(ctx context.Context, b *standbys) {
	var ids []gestor.ServerID
	for _, m := range s.o.Engine.Members() {
		if !m.Voter {
			ids = append(ids, gestor.ServerID(m.ID))
		}
	}
	b.ready = map[gestor.ServerID]bool{}
	for id, status := range s.Statuses(ctx, ids) {
		b.ready[id] = b.before.last > 0 && status.GetRevision() >= b.before.revision && status.GetLastIndex() >= b.before.last
	}
	b.before = progress{revision: s.o.Engine.Revision(), last: s.o.Engine.LastIndex()}
}

// reconcile makes one change after the other until none is left to make.
func (s *Service) reconcile(ctx context.Context, ready map[gestor.ServerID]bool) error {
	for ctx.Err() == nil {
		servers, err := s.o.Engine.View(gestor.SystemScope()).Servers(ctx)
		if err != nil {
			return err
		}
		if len(servers) == 0 {
			return nil // the first server has not announced itself yet
		}
		do := picture{self: s.self(), servers: servers, members: s.o.Engine.Members(), ready: ready}.next()
		if do.act == actNone {
			return nil
		}
		s.o.Log.Info("changing the members", "act", string(do.act), "server", do.id)
		if err := s.carryOut(ctx, do); err != nil {
			return fmt.Errorf("%s server %s: %w", do.act, do.id, err)
		}
	}
	return nil
}

func (s *Service) carryOut(ctx context.Context, do step) error {
	e := s.o.Engine
	switch do.act {
	case actMove, actAdd:
		return e.AddStandby(string(do.id), do.address)
	case actPromote:
		return e.Promote(string(do.id))
	case actForget:
		return s.propose(ctx, command.DeleteServer{ID: do.id})
	case actRemove:
		return e.RemoveMember(string(do.id))
	case actTransfer:
		return e.TransferLeader("")
	case actNone:
	}
	return nil
}
