package deploy_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestDeployment_WaitsForADrainedNodeAndSaysSo(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	own, _ := s.agent("web-1", &script{})
	other, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, own.Node)
	s.Must(t, command.SetNodeDraining{ID: own.Node, Draining: true})
	d := s.create(app)
	s.Await(t, "a reason why it waits", func(v *state.View) bool {
		tasks, err := v.TasksByDeployment(context.Background(), d.ID)
		return err == nil && slices.ContainsFunc(tasks, func(task gestor.Task) bool {
			return task.Kind == gestor.TaskPrepare && strings.Contains(task.Waiting, "web-1 is being drained")
		})
	})
	if got := own.Begun(); len(got) != 0 || !slices.Contains(other.Begun(), "build") {
		t.Errorf("the drained node began %v, the other %v", got, other.Begun())
	}
	s.Must(t, command.SetNodeDraining{ID: own.Node, Draining: false})
	s.await(d.ID, gestor.DeploymentSucceeded)
}
