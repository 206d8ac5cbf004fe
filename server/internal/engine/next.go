//go:build gestor_next

package engine

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// runNext has every leader of the next level leave a note, so that clusters of both levels meet an op only one knows.
func (e *Engine) runNext() { e.OnTerm("note", e.leaveNote) }

func (e *Engine) leaveNote(ctx context.Context) error {
	news := e.Watch(^state.Table(0))
	defer news.Close()
	for {
		level, err := e.store.Level(ctx)
		if err != nil {
			return err
		}
		if level >= 3 {
			break
		}
		select {
		case <-news.C:
		case <-ctx.Done():
			return nil
		}
	}
	note := command.PutNote{ID: e.id, Text: "led"}
	if _, err := e.Propose(ctx, command.Command{Actor: gestor.SystemActor("note"), Op: note}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Notes is how many servers have left a note.
func (e *Engine) Notes(ctx context.Context) (int64, error) { return e.store.Notes(ctx) }
