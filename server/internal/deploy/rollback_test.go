package deploy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestRollback_GoesBackWithoutABuild(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	before := len(a.Begun())
	d, err := s.deploy.Rollback(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, "")
	if err != nil {
		t.Fatal(err)
	}
	s.await(d.ID, gestor.DeploymentSucceeded)
	s.settled(app)
	if got := strings.Join(a.Begun()[before:], " "); got != "prepare switch watch retire" {
		t.Fatalf("began %s", got)
	}
	if got := s.app(app); got.CurrentRelease != first.ReleaseID {
		t.Fatalf("current = %s, want %s", got.CurrentRelease, first.ReleaseID)
	}
}

func TestRollback_IsRefusedToAReleaseThatIsNoLongerOnTheNodes(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{Keep: 2}, a.Node)
	var made []gestor.ReleaseID
	for range 4 {
		made = append(made, s.await(s.create(app).ID, gestor.DeploymentSucceeded).ReleaseID)
		s.settled(app)
	}
	call := deploy.Call{Actor: nodestest.Person()}
	if _, err := s.deploy.Rollback(t.Context(), call, app, made[0]); !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("going back to what is gone: %v", err)
	}
	d, err := s.deploy.Rollback(t.Context(), call, app, "")
	if err != nil || d.ReleaseID != made[2] {
		t.Errorf("went back to %s, want %s: %v", d.ReleaseID, made[2], err)
	}
}
