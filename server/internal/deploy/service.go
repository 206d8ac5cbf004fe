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
	Log    *slog.Logger // nil discards
}

// Service is deployments: the calls of people and the loop of the leader.
type Service struct {
	engine Engine
	log    *slog.Logger
}

// New makes a Service. Its RunTerm is to be run while this server leads.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{engine: o.Engine, log: o.Log.With("component", "deploy")}
}

// RunTerm moves deployments and removals until ctx ends with this server's leadership.
func (s *Service) RunTerm(ctx context.Context) error {
	sub := s.engine.Watch(state.Deployments, state.Tasks, state.Builds, state.Releases, state.Apps, state.Nodes)
	defer sub.Close()
	for {
		var again <-chan time.Time
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("could not move deployments", "err", err)
			again = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		case <-again:
		}
	}
}

// step looks at every deployment and removal under way once. One that cannot be moved does not hold up the others.
func (s *Service) step(ctx context.Context) error {
	view := s.engine.View(gestor.SystemScope())
	active, err := view.ActiveDeployments(ctx)
	if err != nil {
		return err
	}
	deleting, err := view.AppsDeleting(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(16)
	var mu sync.Mutex
	var errs []error
	move := func(what string, f func() error) {
		g.Go(func() error {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("move %s: %w", what, err))
			}
			return nil
		})
	}
	for _, d := range active {
		move(string(d.ID), func() error { return s.advance(ctx, view, d) })
	}
	for _, app := range deleting {
		move(app.Slug, func() error { return s.forget(ctx, view, app) })
	}
	_ = g.Wait() // failures are in errs
	return errors.Join(errs...)
}

// advance does what is due for one deployment.
func (s *Service) advance(ctx context.Context, view *state.View, d gestor.Deployment) error {
	tasks, err := works(ctx, view, d)
	if err != nil || waits(d, tasks) {
		return err
	}
	// The deployment and its tasks are read before what they are judged by: one that moved meanwhile refuses what is
	// decided here.
	snap, err := load(ctx, view, d, tasks)
	if err != nil {
		return err
	}
	for _, op := range decide(snap) {
		if err := s.commit(ctx, op); err != nil {
			return err
		}
		if a, ok := op.(command.AdvanceDeployment); ok && a.From != a.To {
			s.log.Info("deployment moved", "deployment", d.ID, "app", snap.App.Slug, "state", a.To, "reason", a.Error)
		}
	}
	return nil
}

// commit proposes what the loop decided. A refusal means that the state has moved on since it was read, which the watch
// tells the loop anyway.
func (s *Service) commit(ctx context.Context, op command.Op) error {
	_, err := s.engine.Propose(ctx, command.Command{At: time.Now(), Actor: gestor.SystemActor("deploy"), Op: op})
	if errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindExists) {
		s.log.Debug("proposal was refused", "err", err)
		return nil
	}
	return err
}
