package deploy_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestDeployment_RevertsEverywhereWhenTheWatchFails(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	a1, _ := s.agent("web-1", sc)
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	sc.set("watch", failWith("it crashed"))
	var back *agentv1.ReleaseSpec
	sc.set("revert", func(_ context.Context, j nodestest.Job) *agentv1.TaskFinished {
		back = j.Spec.GetSwitch().GetRelease()
		return nodestest.Done(nil)
	})
	d := s.await(s.create(app).ID, gestor.DeploymentFailed)
	if d.Error != "web-1: it crashed" {
		t.Fatalf("error = %q", d.Error)
	}
	s.settled(app)
	if back.GetId() != string(first.ReleaseID) || back.GetName() == "" {
		t.Fatalf("web-1 went back to %v", back)
	}
	if !slices.Contains(a2.Begun(), "revert") {
		t.Fatalf("web-2 began %v", a2.Begun())
	}
	if got := s.app(app); got.CurrentRelease != first.ReleaseID {
		t.Fatalf("current release = %s", got.CurrentRelease)
	}
	r, err := s.View(gestor.SystemScope()).Release(t.Context(), d.ReleaseID)
	if err != nil || r.Status != gestor.ReleaseBad {
		t.Fatalf("release = %+v, %v", r, err)
	}
}

func TestDeployment_FirstOneIsTakenOffTheWebServerWhenItFails(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	names := make(chan string, 1)
	sc.set("switch", failWith("post_switch ended with 1"))
	sc.set("revert", func(_ context.Context, j nodestest.Job) *agentv1.TaskFinished {
		names <- j.Spec.GetSwitch().GetRelease().GetName()
		return nodestest.Done(nil)
	})
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.await(s.create(app).ID, gestor.DeploymentFailed)
	if name := <-names; name != "" {
		t.Fatalf("went back to %q", name)
	}
	if got := s.app(app); got.CurrentRelease != "" || got.Status != gestor.AppError {
		t.Fatalf("app = %+v", got)
	}
}

func TestDeployment_RevertIsTriedUntilItWorks(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	sc.set("switch", failWith("no"))
	tries := 0
	sc.set("revert", func(context.Context, nodestest.Job) *agentv1.TaskFinished {
		if tries++; tries == 1 {
			return nodestest.Failed("nginx does not start")
		}
		return nodestest.Done(nil)
	})
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	d := s.create(app)
	s.Await(t, "an error that explains", func(v *state.View) bool {
		now, err := v.Deployment(context.Background(), d.ID)
		return err == nil && now.State == gestor.DeploymentReverting && strings.Contains(now.Error, "nginx does not start")
	})
	if d := s.await(d.ID, gestor.DeploymentFailed); d.Error != "web-1: no" {
		t.Fatalf("error = %q", d.Error)
	}
}
