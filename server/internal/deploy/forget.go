package deploy

import (
	"context"
	"slices"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// forget ends the removal of an app once it is off every node that still exists. A removal that failed or was
// cancelled waits for a person to retry it.
func (s *Service) forget(ctx context.Context, view *state.View, app gestor.App) error {
	tasks, _, err := view.Tasks(ctx, state.TaskFilter{App: app.ID}, gestor.Page{Size: 500})
	if err != nil {
		return err
	}
	nodes, err := view.AllNodes(ctx)
	if err != nil {
		return err
	}
	if !removed(tasks, nodes) {
		return nil
	}
	s.log.Info("app removed", "app", app.Slug)
	return s.commit(ctx, command.ForgetApp{ID: app.ID})
}

// removed reports whether nothing of an app is under way and it is off all nodes that still exist.
func removed(tasks []gestor.Task, nodes []gestor.Node) bool {
	for _, t := range tasks {
		if !t.State.Ended() {
			return false
		}
		exists := slices.ContainsFunc(nodes, func(n gestor.Node) bool { return n.ID == target(t) })
		if t.Kind == gestor.TaskRemove && t.DeploymentID == "" && t.State != gestor.TaskSucceeded && exists {
			return false
		}
	}
	return true
}
