package tenants

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/clock"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what this package needs of replication and state.
type Engine interface {
	// Propose commits a command; a refusal by the state machine is a *fault.Error.
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	// View reads what a scope may see.
	View(s gestor.Scope) *state.View
	// Watch is signalled after commits that touched a table.
	Watch(tables ...state.Table) *state.Subscription
}

// Remover begins the removal of an app from its nodes; *deploy.Service is one.
type Remover interface {
	DeleteApp(ctx context.Context, c deploy.Call, app gestor.AppID, purge bool) ([]gestor.TaskID, error)
}

// Clock is the time that the trash is measured by; *clock.Clock is one.
type Clock interface {
	Now() time.Time
	Doubt() string // why nothing should be deleted for its age now; empty if it may
}

// Options are what a Service is made of. Zero times mean the defaults.
type Options struct {
	Engine   Engine
	Remover  Remover
	Clock    Clock                                // that of this server alone if nil
	After    func(time.Duration) <-chan time.Time // time.After if nil
	Retry    time.Duration                        // between attempts to take an app off a node; 1 h
	Patience time.Duration                        // how long a lost node of the tenant is waited for; 24 h
	Log      *slog.Logger                         // nil discards
}

// Service ends tenants while this server leads.
type Service struct{ o Options }

// New makes a Service.
func New(o Options) *Service {
	if o.Clock == nil {
		o.Clock = clock.New(nil, time.Time{})
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Retry = cmp.Or(o.Retry, time.Hour)
	o.Patience = cmp.Or(o.Patience, 24*time.Hour)
	o.Log = o.Log.With("component", "tenants")
	return &Service{o}
}

const (
	// glance is how often it looks at tenants that are about to go, whatever is heard of them.
	glance = time.Minute
	// rest is how long it waits at most: a clock that was wrong is looked at again.
	rest = time.Hour
)

// RunTerm ends tenants until ctx ends with this server's leadership.
func (s *Service) RunTerm(ctx context.Context) error {
	changes := s.o.Engine.Watch(state.Tenants, state.Apps, state.Tasks, state.Nodes)
	defer changes.Close()
	for {
		wait, err := s.step(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Log.Error("could not end a tenant", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
		case <-s.o.After(wait):
		}
	}
}

// step does what is due for every tenant in the trash once, and returns when to look again.
func (s *Service) step(ctx context.Context) (time.Duration, error) {
	view := s.o.Engine.View(gestor.SystemScope())
	all, err := view.TenantsInTrash(ctx)
	if err != nil || len(all) == 0 {
		return rest, err
	}
	if doubt := s.o.Clock.Doubt(); doubt != "" {
		s.o.Log.Warn("no tenant is removed while the time is in doubt", "why", doubt)
		return rest, nil
	}
	wait := rest
	var errs []error
	for _, t := range all {
		now := s.o.Clock.Now()
		if left := t.TrashedAt.Add(gestor.TrashTime).Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		wait = min(wait, glance)
		errs = append(errs, s.end(ctx, view, t, now))
	}
	return wait, errors.Join(errs...)
}

// end does for one tenant what can be done now.
func (s *Service) end(ctx context.Context, view *state.View, t gestor.Tenant, now time.Time) error {
	apps, err := view.AppsOf(ctx, t.ID)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		s.o.Log.Info("tenant removed", "tenant", t.ID, "name", t.Name)
		return s.propose(ctx, s.actor("", "tenant.purge"), command.PurgeTenant{ID: t.ID})
	}
	var errs []error
	for _, app := range apps {
		errs = append(errs, s.remove(ctx, view, app, now))
	}
	if !now.Before(t.TrashedAt.Add(gestor.TrashTime + s.o.Patience)) {
		errs = append(errs, s.forgetLost(ctx, view, t))
	}
	return errors.Join(errs...)
}

// remove takes the next step of an app's removal.
func (s *Service) remove(ctx context.Context, view *state.View, app gestor.App, now time.Time) error {
	switch {
	case app.Status == gestor.AppDeleting:
		return s.retry(ctx, view, app, now)
	case app.ActiveDeployment != "":
		d, err := view.Deployment(ctx, app.ActiveDeployment)
		if err != nil || d.Cancelling {
			return passed(err)
		}
		return s.propose(ctx, s.actor(app.TenantID, "deployment.cancel"), command.CancelDeployment{ID: d.ID})
	}
	_, err := s.o.Remover.DeleteApp(ctx, deploy.Call{Actor: s.actor(app.TenantID, "app.delete")}, app.ID, true)
	return passed(err)
}

// retry repeats, after a while, what did not take an app off a node: nobody of the tenant can any more.
func (s *Service) retry(ctx context.Context, view *state.View, app gestor.App, now time.Time) error {
	tasks, _, err := view.Tasks(ctx, state.TaskFilter{App: app.ID}, gestor.Page{Size: 500})
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tasks {
		over := t.State.Ended() && t.State != gestor.TaskSucceeded
		if over && t.Kind == gestor.TaskRemove && t.DeploymentID == "" && now.Sub(t.FinishedAt) >= s.o.Retry {
			errs = append(errs, s.propose(ctx, s.actor(app.TenantID, ""), command.RetryTask{ID: t.ID}))
		}
	}
	return errors.Join(errs...)
}

// forgetLost gives up the tenant's own nodes that are not there: what waits for them would wait for ever.
func (s *Service) forgetLost(ctx context.Context, view *state.View, t gestor.Tenant) error {
	nodes, err := view.NodesOf(ctx, t.ID)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		if n.Shared || n.Status != gestor.NodeLost && n.Status != gestor.NodeEnrolled {
			continue
		}
		s.o.Log.Warn("lost node of a deleted tenant forgotten", "tenant", t.ID, "node", n.Name)
		errs = append(errs, s.propose(ctx, s.actor(t.ID, "node.delete"), command.DeleteNode{ID: n.ID}))
	}
	return errors.Join(errs...)
}

// actor is this loop, within a tenant or over the installation.
func (s *Service) actor(tenant gestor.TenantID, action string) gestor.Actor {
	a := gestor.SystemActor("tenants")
	a.TenantID, a.Action = tenant, action
	return a
}

func (s *Service) propose(ctx context.Context, by gestor.Actor, op command.Op) error {
	_, err := s.o.Engine.Propose(ctx, command.Command{At: s.o.Clock.Now(), Actor: by, Op: op})
	return passed(err)
}

// passed drops refusals: the state has moved on since it was read, or will when something else is done, and is looked at again.
func passed(err error) error {
	if errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindExists) {
		return nil
	}
	return err
}
