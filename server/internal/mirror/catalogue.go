package mirror

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what the catalogue needs of replication and state; *engine.Engine has it.
type Engine interface {
	// Barrier returns once this server has applied everything that was committed before the call.
	Barrier(ctx context.Context) error
	// View reads what a scope may see.
	View(s gestor.Scope) *state.View
}

// StateCatalogue is the catalogue of what the state names.
type StateCatalogue struct {
	Engine Engine
	// Needed are the digests of artifacts that are kept.
	Needed func(ctx context.Context, v *state.View) (map[string]bool, error)
}

var _ Catalogue = StateCatalogue{}

const (
	tasksAtOnce  = 500
	barrierLimit = 10 * time.Second
)

// Logs implements Catalogue.
func (c StateCatalogue) Logs(ctx context.Context, since time.Time, use func([]LogRef) error) error {
	if err := c.catchUp(ctx); err != nil {
		return err
	}
	view := c.Engine.View(gestor.SystemScope())
	var token string
	for {
		tasks, next, err := view.Tasks(ctx, state.TaskFilter{}, gestor.Page{Size: tasksAtOnce, Token: token})
		if err != nil {
			return fmt.Errorf("list tasks: %w", err)
		}
		refs := refsOf(tasks, since)
		if err := use(refs); err != nil || next == "" || len(refs) < len(tasks) {
			return err
		}
		token = next
	}
}

// refsOf are the logs of those tasks that were made after a time; the newest are first.
func refsOf(tasks []gestor.Task, since time.Time) []LogRef {
	var refs []LogRef
	for _, t := range tasks {
		if t.CreatedAt.Before(since) {
			break
		}
		at := time.Now()
		if t.State.Ended() {
			at = t.FinishedAt
		}
		refs = append(refs, LogRef{ID: string(t.ID), At: at})
	}
	return refs
}

// Artifacts implements Catalogue.
func (c StateCatalogue) Artifacts(ctx context.Context) ([]string, error) {
	if err := c.catchUp(ctx); err != nil {
		return nil, err
	}
	needed, err := c.Needed(ctx, c.Engine.View(gestor.SystemScope()))
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	var out []string
	for digest := range needed {
		out = append(out, digest)
	}
	slices.Sort(out)
	return out, nil
}

// catchUp keeps a server that has just started from taking the little it knows for all there is.
func (c StateCatalogue) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, barrierLimit)
	defer cancel()
	return c.Engine.Barrier(ctx)
}
