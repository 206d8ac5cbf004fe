package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/clock"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// RetentionOptions are what a Retention is made of. Zero times mean the defaults.
type RetentionOptions struct {
	Engine  CurrentEngine
	History *history.Store
	Blobs   *blob.Store
	Every   time.Duration // between rounds; 1 h
	Records time.Duration // how long ended tasks, request ids and expired sessions stay; 30 days
	Young   time.Duration // how long an artifact stays whoever needs it; 24 h
	Clock   Clock         // that of this server alone if nil
	Log     *slog.Logger  // nil discards
}

// Clock is the time that ages are measured by; *clock.Clock is one.
type Clock interface {
	Own() time.Time // of the machine, and so of its files
	Now() time.Time // of the cluster, and so of the state
	Doubt() string  // why nothing should be deleted for its age now; empty if it may
}

// CurrentEngine is an Engine that knows when it is up to date.
type CurrentEngine interface {
	Engine
	// Barrier returns once this server has applied everything that was committed before the call.
	Barrier(ctx context.Context) error
}

// Retention removes what is old enough: records in the state, logs, and artifacts that no kept release and no recent
// build names.
type Retention struct {
	o RetentionOptions
}

// NewRetention makes a Retention.
func NewRetention(o RetentionOptions) *Retention {
	o.Every = or(o.Every, time.Hour)
	o.Records = or(o.Records, 30*24*time.Hour)
	o.Young = or(o.Young, 24*time.Hour)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.New(nil, time.Time{})
	}
	return &Retention{o: o}
}

// restEvery is how often logs are looked for that nobody uses any more.
const restEvery = 5 * time.Minute

// Run tidies this server's own logs and artifacts, every so often until ctx ends.
func (r *Retention) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.every(ctx, r.o.Every, "logs and artifacts", r.Tidy) })
	g.Go(func() error { return r.every(ctx, restEvery, "idle logs", r.o.History.Rest) })
	return g.Wait()
}

// RunTerm prunes the state while this server leads.
func (r *Retention) RunTerm(ctx context.Context) error {
	return r.every(ctx, r.o.Every, "old records", r.prune)
}

func (r *Retention) every(ctx context.Context, d time.Duration, what string, f func(context.Context) error) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("could not tidy up", "what", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// doubtful reports that a clock is not to be trusted with what is old enough, and says so.
func (r *Retention) doubtful(what string) bool {
	doubt := r.o.Clock.Doubt()
	if doubt != "" {
		r.o.Log.Warn("nothing is deleted for its age until the clocks are right", "what", what, "reason", doubt)
	}
	return doubt != ""
}

func (r *Retention) prune(ctx context.Context) error {
	if r.doubtful("old records") {
		return nil
	}
	now := r.o.Clock.Now()
	_, err := r.o.Engine.Propose(ctx, command.Command{
		At: now, Actor: gestor.SystemActor("retention"), Op: command.Prune{Before: now.Add(-r.o.Records)},
	})
	return err
}

// Tidy does one round of Run.
func (r *Retention) Tidy(ctx context.Context) error {
	if r.doubtful("logs and artifacts") {
		return nil
	}
	return errors.Join(r.o.History.Prune(ctx), r.collect(ctx))
}

func (r *Retention) collect(ctx context.Context) error {
	// The time is taken before the state is read: what is stored after that is young.
	before := r.o.Clock.Own().Add(-r.o.Young)
	// A server that has just started has an old state, or none, until it has heard the others: nothing would be needed there.
	if err := r.current(ctx); err != nil {
		return fmt.Errorf("know which artifacts are needed: %w", err)
	}
	needed, err := NeededArtifacts(ctx, r.o.Engine.View(gestor.SystemScope()))
	if err != nil {
		return err
	}
	gone, err := r.o.Blobs.Collect(ctx, before, func(digest string) bool { return needed[digest] })
	for _, b := range gone {
		r.o.Log.Info("artifact removed", "digest", b.Digest, "bytes", b.Bytes)
	}
	return err
}

// catchUpLimit is how long the state may take to be up to date, until the next round.
const catchUpLimit = time.Minute

func (r *Retention) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	return r.o.Engine.Barrier(ctx)
}

// recentBuilds is how many of an app's latest builds keep their artifacts, so that they can still be deployed.
const recentBuilds = 5

// NeededArtifacts are the digests of artifacts that may still be deployed, and of the archives of the audit log, which stay for
// ever.
func NeededArtifacts(ctx context.Context, view *state.View) (map[string]bool, error) {
	needed := map[string]bool{}
	years, err := view.AuditYears(ctx)
	if err != nil {
		return nil, err
	}
	for _, y := range years {
		if y.Digest != "" {
			needed[y.Digest] = true
		}
	}
	var token string
	for {
		apps, next, err := view.Apps(ctx, gestor.Page{Size: 500, Token: token})
		if err != nil {
			return nil, err
		}
		for _, app := range apps {
			if err := neededBy(ctx, view, app, needed); err != nil {
				return nil, err
			}
		}
		if token = next; token == "" {
			return needed, nil
		}
	}
}

func neededBy(ctx context.Context, view *state.View, app gestor.App, needed map[string]bool) error {
	releases, _, err := view.ReleasesByApp(ctx, app.ID, gestor.Page{Size: 500})
	if err != nil {
		return err
	}
	builds, _, err := view.BuildsByApp(ctx, app.ID, gestor.Page{Size: recentBuilds})
	if err != nil {
		return err
	}
	live := map[gestor.ReleaseID]bool{app.CurrentRelease: true}
	if app.ActiveDeployment != "" {
		d, err := view.Deployment(ctx, app.ActiveDeployment)
		if err != nil {
			return err
		}
		live[d.ReleaseID], live[d.PreviousRelease] = true, true
	}
	keep := map[string]bool{}
	for _, name := range kept(releases, live, app.Settings.WithDefaults().Keep) {
		keep[name] = true
	}
	for _, rel := range releases {
		if keep[rel.Name] {
			needed[rel.Artifact.Digest] = true
		}
	}
	for _, b := range builds {
		if b.Artifact.Digest != "" {
			needed[b.Artifact.Digest] = true
		}
	}
	return nil
}
