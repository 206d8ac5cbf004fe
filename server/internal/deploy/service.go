package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Call says on whose behalf a change is made.
type Call = dispatch.Call

// Options are what a Service is made of.
type Options struct {
	Engine Engine
	Now    func() time.Time // by which freezes are judged; time.Now if nil
	Log    *slog.Logger     // nil discards
}

// Service is deployments: the calls of people and the loop of the leader.
type Service struct {
	engine Engine
	now    func() time.Time
	log    *slog.Logger
}

// New makes a Service. Its RunTerm is to be run while this server leads.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{engine: o.Engine, now: o.Now, log: o.Log.With("component", "deploy")}
}

// RunTerm moves deployments and removals until ctx ends with this server's leadership.
func (s *Service) RunTerm(ctx context.Context) error {
	sub := s.engine.Watch(state.Deployments, state.Tasks, state.Builds, state.Releases, state.Apps, state.Nodes, state.Protections, state.Users)
	defer sub.Close()
	for {
		next, err := s.step(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("could not move deployments", "err", err)
			next = s.now().Add(time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		case <-s.at(next):
		}
	}
}

// Bounds of the pause after which deployments that wait for a time are looked at again: a clock may be set meanwhile.
const (
	shortestPause = 100 * time.Millisecond
	longestPause  = 20 * time.Second
)

// at is ready at t, or soon if the clock may be set meanwhile; never for the zero time.
func (s *Service) at(t time.Time) <-chan time.Time {
	if t.IsZero() {
		return nil
	}
	return time.After(min(max(t.Sub(s.now()), shortestPause), longestPause))
}

// step looks at every deployment and removal under way once, and says when one is to be looked at again although nothing
// changed; zero if none is. One that cannot be moved does not hold up the others.
func (s *Service) step(ctx context.Context) (next time.Time, err error) {
	view := s.engine.View(gestor.SystemScope())
	active, err := view.ActiveDeployments(ctx)
	if err != nil {
		return next, err
	}
	deleting, err := view.AppsDeleting(ctx)
	if err != nil {
		return next, err
	}
	var g errgroup.Group
	g.SetLimit(16)
	var mu sync.Mutex
	var errs []error
	move := func(what string, f func() (time.Time, error)) {
		g.Go(func() error {
			at, err := f()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("move %s: %w", what, err))
			}
			if next.IsZero() || !at.IsZero() && at.Before(next) {
				next = at
			}
			return nil
		})
	}
	for _, d := range active {
		move(string(d.ID), func() (time.Time, error) { return s.advance(ctx, view, d) })
	}
	for _, app := range deleting {
		move(app.Slug, func() (time.Time, error) { return time.Time{}, s.forget(ctx, view, app) })
	}
	_ = g.Wait() // failures are in errs
	return next, errors.Join(errs...)
}

// advance does what is due for one deployment, and says when something else may be due although nothing changed.
func (s *Service) advance(ctx context.Context, view *state.View, d gestor.Deployment) (next time.Time, err error) {
	tasks, err := works(ctx, view, d)
	if err != nil || waits(d, tasks) {
		return next, err
	}
	// The deployment and its tasks are read before what they are judged by: one that moved meanwhile refuses what is
	// decided here.
	snap, err := load(ctx, view, d, tasks)
	if err != nil {
		return next, err
	}
	snap.Now = s.now()
	for _, op := range decide(snap) {
		if err := s.commit(ctx, op); err != nil {
			return next, err
		}
		if a, ok := op.(command.AdvanceDeployment); ok && a.From != a.To {
			s.log.Info("deployment moved", "deployment", d.ID, "app", snap.App.Slug, "state", a.To, "reason", a.Error)
		}
	}
	return snap.Case.Hold(snap.Now).Next, nil
}

// commit proposes what the loop decided. A refusal means that the state has moved on since it was read, which the watch
// tells the loop anyway.
func (s *Service) commit(ctx context.Context, op command.Op) error {
	_, err := s.engine.Propose(ctx, command.Command{At: s.now(), Actor: gestor.SystemActor("deploy"), Op: op})
	if errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindExists) {
		s.log.Debug("proposal was refused", "err", err)
		return nil
	}
	return err
}
