package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const (
	touchEvery  = 15 * time.Second // a command with what was used since the one before
	touchesAt   = 500              // in one command
	mostTouches = 10_000           // between two; more are noted the next time they are used
)

// Touches keeps when sessions and tokens were last used: once in auth.SeenEvery for each, many in one command. What is lost
// with a server is noted again at the next use.
type Touches struct {
	engine Engine
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex
	used map[string]gestor.Touch // by id; guarded by mu
}

// NewTouches makes a keeper; Run does the work.
func NewTouches(e Engine, now func() time.Time, log *slog.Logger) *Touches {
	return &Touches{engine: e, now: now, log: log, used: map[string]gestor.Touch{}}
}

// Note notes a use, if the last that is known is old enough. It is quick and keeps nobody waiting.
func (t *Touches) Note(c auth.Caller, address string) {
	now := t.now()
	touch, last := gestor.Touch{Session: c.Session.ID, At: now, From: address}, c.Session.SeenAt
	id := string(c.Session.ID)
	if c.Kind == auth.Machine {
		touch, last, id = gestor.Touch{Token: c.Token.ID, At: now, From: address}, c.Token.SeenAt, string(c.Token.ID)
	} else if last.IsZero() {
		return // of a state that does not keep it
	}
	if now.Sub(last) < auth.SeenEvery {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.used) < mostTouches {
		t.used[id] = touch
	}
}

// Run writes what was noted until ctx ends.
func (t *Touches) Run(ctx context.Context) error {
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			t.flush(ctx)
		}
	}
}

func (t *Touches) flush(ctx context.Context) {
	t.mu.Lock()
	used := t.used
	t.used = map[string]gestor.Touch{}
	t.mu.Unlock()
	var batch []gestor.Touch
	for _, touch := range used {
		batch = append(batch, touch)
		if len(batch) == touchesAt {
			t.write(ctx, batch)
			batch = nil
		}
	}
	t.write(ctx, batch)
}

func (t *Touches) write(ctx context.Context, batch []gestor.Touch) {
	if len(batch) == 0 {
		return
	}
	_, err := t.engine.Propose(ctx, command.Command{At: t.now(), Actor: gestor.SystemActor("touch"), Op: command.TouchSessions{Touches: batch}})
	if err != nil && ctx.Err() == nil {
		t.log.Debug("use of sessions not noted", "count", len(batch), "err", err)
	}
}
