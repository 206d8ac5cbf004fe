package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestDeployment_GoesLiveOnAllNodes(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a1, _ := s.agent("web-1", &script{})
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	if got := s.app(app); got.CurrentRelease != d.ReleaseID || got.Status != gestor.AppActive || got.ActiveDeployment != "" {
		t.Fatalf("app = %+v", got)
	}
	begun := append(a1.Begun(), a2.Begun()...)
	slices.Sort(begun)
	if !slices.Equal(begun, []string{"build", "prepare", "prepare", "retire", "retire", "switch", "switch", "watch", "watch"}) {
		t.Fatalf("begun: %v", begun)
	}
	if len(d.Phases) != 4 || d.Phases[3].FinishedAt.IsZero() || d.LiveAt.IsZero() {
		t.Fatalf("phases = %+v, live at %v", d.Phases, d.LiveAt)
	}
}

func TestDeployment_NoNodeSwitchesBeforeAllArePrepared(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	slow := &script{}
	slow.set("prepare", nodestest.Hang)
	a1, _ := s.agent("web-1", &script{})
	a2, _ := s.agent("web-2", slow)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.create(app)
	s.Await(t, "web-1 prepared", func(v *state.View) bool {
		return s.count(v, d.ID, gestor.TaskPrepare, gestor.TaskSucceeded) == 1 && s.count(v, d.ID, gestor.TaskPrepare, gestor.TaskRunning) == 1
	})
	if slices.Contains(a1.Begun(), "switch") {
		t.Fatal("web-1 was switched before web-2 was prepared")
	}
	s.cancel(d.ID)
	s.await(d.ID, gestor.DeploymentCancelled)
	if got := s.app(app); got.Status != gestor.AppInactive || got.ActiveDeployment != "" {
		t.Fatalf("app = %+v", got)
	}
}

func TestDeployment_FailsAndTidiesUpWhenANodeCannotPrepare(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	bad := &script{}
	bad.set("prepare", failWith("GET /health answered 500 for 60 s"))
	a1, _ := s.agent("web-1", bad)
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.await(s.create(app).ID, gestor.DeploymentFailed)
	if d.Error != "web-1: GET /health answered 500 for 60 s" {
		t.Fatalf("error = %q", d.Error)
	}
	s.settled(app)
	for _, a := range []*nodestest.FakeAgent{a1, a2} {
		if b := a.Begun(); slices.Contains(b, "switch") || !slices.Contains(b, "retire") {
			t.Fatalf("%s began %v", a.Node, b)
		}
	}
}

func TestDeployment_CanBeCancelledInEveryState(t *testing.T) {
	for _, kind := range []string{"build", "prepare", "switch", "watch"} {
		t.Run(kind, func(t *testing.T) {
			s := newSystem(t)
			s.run(s.deploy.RunTerm)
			sc := &script{}
			a, _ := s.agent("web-1", sc)
			app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
			first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
			s.settled(app)
			sc.set(kind, nodestest.Hang)
			d := s.create(app)
			s.Await(t, kind+" to run", func(v *state.View) bool { return s.count(v, d.ID, kind, gestor.TaskRunning) == 1 })
			s.cancel(d.ID)
			s.await(d.ID, gestor.DeploymentCancelled)
			s.settled(app)
			if got := s.app(app); got.CurrentRelease != first.ReleaseID || got.Status != gestor.AppActive || got.ActiveDeployment != "" {
				t.Fatalf("app = %+v", got)
			}
			switched := kind == "switch" || kind == "watch"
			if slices.Contains(a.Begun(), "revert") != switched {
				t.Fatalf("began %v", a.Begun())
			}
		})
	}
}

func TestDeployment_GoesOnUnderANewLeader(t *testing.T) {
	s := newSystem(t)
	sc := &script{}
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	for _, kind := range []string{"build", "prepare", "switch", "watch"} {
		stop := s.run(s.deploy.RunTerm)
		sc.set(kind, nodestest.Hang)
		d := s.create(app)
		s.Await(t, kind+" to run", func(v *state.View) bool { return s.count(v, d.ID, kind, gestor.TaskRunning) == 1 })
		stop()
		two, three := s.run(s.deploy.RunTerm), s.run(s.deploy.RunTerm) // two leaders at once decide the same
		s.cancel(d.ID)
		s.await(d.ID, gestor.DeploymentCancelled)
		s.settled(app)
		two()
		three()
		sc.set(kind, nodestest.Succeed)
	}
}

func TestDeployment_SecondOneOfAnAppIsRefusedWithWhoHoldsTheLock(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	first := s.create(app)
	_, err := s.deploy.CreateDeployment(t.Context(), deploy.Call{Actor: nodestest.Person()}, deploy.Request{App: app})
	if err == nil || !strings.Contains(err.Error(), string(first.ID)) {
		t.Fatalf("err = %v", err)
	}
}

func TestDeployment_RepeatedRequestIsOneDeployment(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	call := deploy.Call{Actor: nodestest.Person(), RequestID: "r1"}
	a, errA := s.deploy.CreateDeployment(t.Context(), call, deploy.Request{App: app})
	b, errB := s.deploy.CreateDeployment(t.Context(), call, deploy.Request{App: app})
	if errA != nil || errB != nil || a.ID != b.ID {
		t.Fatalf("%s %v, %s %v", a.ID, errA, b.ID, errB)
	}
}

func TestDeployment_DoesNotWaitForTheDrainOfTheOneBefore(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	sc.set("retire", nodestest.Hang)
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	for range 3 {
		s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	}
}
