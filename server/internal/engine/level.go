package engine

import (
	"context"
	"sync/atomic"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// levels keep what one server does not understand out of the log. The state's level never exceeds any server's, so that
// is what counts. It only grows.
type levels struct{ known atomic.Uint32 }

// check refuses an op that a server of the cluster does not understand yet. It reads the state only for ops that are
// newer than the last level it saw there.
func (e *Engine) checkLevel(ctx context.Context, op command.Op) error {
	needs := command.Needs(op)
	if needs <= max(1, e.levels.known.Load()) {
		return nil
	}
	now, err := e.store.Level(ctx)
	if err != nil {
		return err
	}
	e.levels.known.Store(now)
	if needs <= now {
		return nil
	}
	servers, err := e.View(gestor.SystemScope()).Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if fsm.LevelOf(s) < needs {
			return fsm.TooOld(s, needs)
		}
	}
	return fault.Unavailable("the servers are being upgraded: their state has level %d, this needs level %d", now, needs).
		WithFix("try again in a moment").WithRetryAfter(retrySoon)
}

// Level is the level of this server's state.
func (e *Engine) Level(ctx context.Context) (uint32, error) { return e.store.Level(ctx) }

// keepLevel raises the level of the state once all servers understand a higher one. It is a leader loop.
func (e *Engine) keepLevel(ctx context.Context) error {
	news := e.Watch(state.Servers)
	defer news.Close()
	for {
		if err := e.raiseLevel(ctx); err != nil {
			return err
		}
		select {
		case <-news.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *Engine) raiseLevel(ctx context.Context) error {
	now, err := e.store.Level(ctx)
	if err != nil {
		return err
	}
	servers, err := e.View(gestor.SystemScope()).Servers(ctx)
	if err != nil {
		return err
	}
	least := uint32(command.Level)
	for _, s := range servers {
		least = min(least, fsm.LevelOf(s))
	}
	if least <= now {
		return nil
	}
	_, err = e.Propose(ctx, command.Command{Actor: gestor.SystemActor("level"), Op: command.RaiseLevel{Level: least}})
	return err
}

// Mark waits until this server has applied the command.Mark at revision, and returns the hashes of the state there: of
// all of it, and of each table.
func (e *Engine) Mark(ctx context.Context, revision uint64) (hash string, tables map[string]string, err error) {
	if err := e.Wait(ctx, revision); err != nil {
		return "", nil, err
	}
	h, err := e.fsm.Mark(ctx, revision)
	return h.All, h.Tables, err
}
