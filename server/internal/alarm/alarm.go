// Package alarm turns conditions that nobody writes down into events: a control server that does not answer, a backup that
// fails. It runs on the server that leads. What was said last is read from the state, so that a change of the leader says
// nothing twice and forgets nothing.
package alarm

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what this package needs of replication and state.
type Engine interface {
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	View(s gestor.Scope) *state.View
}

// Options are what a Watch is made of.
type Options struct {
	Engine Engine
	// Look returns all conditions as they are now. One that it leaves out is not known, and nothing is said of it.
	Look func(ctx context.Context) []Condition
	Log  *slog.Logger
	Now  func() time.Time

	Every    time.Duration // between looks; 0: 10 s
	Patience int           // looks in a row that a condition must be bad before it is told; 0: 3
}

// Condition is something that is well or not.
type Condition struct {
	Object  string // the id of what it is about; one condition for each object and kind
	Bad     bool
	Raised  gestor.Event // what to tell when it is bad, but for what the state machine gives
	Cleared gestor.Event // what to tell when it is well again
}

// Watch looks at conditions.
type Watch struct {
	o   Options
	bad map[string]int // looks in a row, by kind and object
}

// New makes a Watch. Its RunTerm is to be run while this server leads.
func New(o Options) *Watch {
	o.Every, o.Patience = cmp.Or(o.Every, 10*time.Second), cmp.Or(o.Patience, 3)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Watch{o: o, bad: map[string]int{}}
}

// RunTerm looks until ctx ends with this server's leadership.
func (w *Watch) RunTerm(ctx context.Context) error {
	clear(w.bad)
	ticker := time.NewTicker(w.o.Every)
	defer ticker.Stop()
	for {
		for _, c := range w.o.Look(ctx) {
			if err := w.tell(ctx, c); err != nil && ctx.Err() == nil {
				w.o.Log.Warn("event not written", "kind", c.Raised.Kind, "object", c.Object, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// tell writes an event if a condition is not what was said of it last.
func (w *Watch) tell(ctx context.Context, c Condition) error {
	key := c.Raised.Kind + "/" + c.Object
	if !c.Bad {
		delete(w.bad, key)
	} else if w.bad[key]++; w.bad[key] < w.o.Patience {
		return nil
	}
	last, found, err := w.o.Engine.View(gestor.SystemScope()).LastEvent(ctx, c.Object, c.Raised.Kind, c.Cleared.Kind)
	if err != nil {
		return err
	}
	told := found && last.Kind == c.Raised.Kind
	if told == c.Bad {
		return nil
	}
	e := c.Cleared
	if c.Bad {
		e = c.Raised
	}
	e.ObjectID = c.Object
	_, err = w.o.Engine.Propose(ctx, command.Command{At: w.o.Now(), Actor: gestor.SystemActor("alarm"), Op: command.RecordEvent{Event: e}})
	if errors.Is(err, fault.KindConflict) {
		return nil // a state of the first level has no place for events; it is told when there is one
	}
	return err
}
