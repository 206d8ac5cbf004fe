package deploy_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestDeleteApp_ForgetsItOnceItIsOffItsNodes(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	ids, err := s.deploy.DeleteApp(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, true)
	if err != nil || len(ids) != 1 {
		t.Fatalf("%v, %v", ids, err)
	}
	s.Await(t, "the app to be gone", func(v *state.View) bool {
		_, err := v.App(context.Background(), app)
		return err != nil
	})
	if !slices.Contains(a.Begun(), "remove") {
		t.Fatalf("began %v", a.Begun())
	}
}

func TestDeleteApp_IsTakenUpAgainAfterItsRemovalWasCancelled(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	sc.set("remove", nodestest.Hang)
	call := deploy.Call{Actor: nodestest.Person()}
	ids, err := s.deploy.DeleteApp(t.Context(), call, app, true)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitTask(ids[0], gestor.TaskRunning)
	if _, err := s.disp.Cancel(t.Context(), call, ids[0]); err != nil {
		t.Fatal(err)
	}
	s.awaitTask(ids[0], gestor.TaskCancelled)
	if got := s.app(app).Status; got != gestor.AppDeleting {
		t.Fatalf("the app is %s", got)
	}
	sc.set("remove", nil)
	if _, err := s.disp.Retry(t.Context(), call, ids[0]); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "the app to be gone", func(v *state.View) bool {
		_, err := v.App(context.Background(), app)
		return err != nil
	})
}

func (s *system) awaitTask(id gestor.TaskID, want gestor.TaskState) {
	s.t.Helper()
	s.Await(s.t, "the task to be "+string(want), func(v *state.View) bool {
		task, err := v.Task(context.Background(), id)
		return err == nil && task.State == want
	})
}

// move puts an app on other nodes; it is deployed there by the next deployment.
func (s *system) move(app gestor.AppID, nodes ...gestor.NodeID) {
	s.t.Helper()
	set := s.app(app).Settings
	set.Nodes = nodes
	s.Must(s.t, command.UpdateApp{ID: app, Settings: set})
}

func TestDeployment_TakesTheAppOffANodeItHasLeft(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a1, _ := s.agent("web-1", &script{})
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	s.move(app, a1.Node)
	if slices.Contains(a2.Begun(), "remove") {
		t.Fatal("the app was removed before the next deployment")
	}
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	if slices.Contains(a1.Begun(), "remove") || !slices.Contains(a2.Begun(), "remove") {
		t.Fatalf("web-1 began %v, web-2 began %v", a1.Begun(), a2.Begun())
	}
}

func TestDeployment_CallsOffTheRemovalFromANodeTheAppComesBackTo(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a1, _ := s.agent("web-1", &script{})
	sc := &script{}
	a2, _ := s.agent("web-2", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	sc.set("remove", nodestest.Hang)
	s.move(app, a1.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.move(app, a1.Node, a2.Node)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	tasks, _, err := s.View(gestor.SystemScope()).Tasks(t.Context(), state.TaskFilter{App: app}, gestor.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if task.Kind != gestor.TaskRemove {
			continue
		}
		if task.State != gestor.TaskCancelled {
			t.Errorf("the removal is %s", task.State)
		}
		_, err := s.disp.Retry(t.Context(), deploy.Call{Actor: nodestest.Person()}, task.ID)
		if !errors.Is(err, fault.KindConflict) {
			t.Errorf("removing it from where it lives again: %v", err)
		}
	}
}
