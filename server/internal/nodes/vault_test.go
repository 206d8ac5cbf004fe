package nodes_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

func TestVault_GivesATaskTheVariablesOfItsDeploymentAndGoingBackThoseOfTheRelease(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	app := s.AddApp(t, "shop", gestor.AppSettings{Nodes: []gestor.NodeID{a.Node}}, a.Node)
	set := func(value string) {
		s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": s.ring.Seal([]byte(value), gestor.EnvPlace(app, "TOKEN"))}})
	}
	set("first")
	build := command.CreateBuild{ID: "bld_1", AppID: app, Ref: "main", Task: gestor.Task{ID: "tsk_b", Kind: gestor.TaskBuild, NodeID: a.Node}}
	s.Must(t, command.CreateDeployment{ID: "dep_1", AppID: app, Build: &build, NewReleaseID: "rel_1"})
	set("second")

	vault := nodes.NewVault(s.Engine, s.ring)
	scope := gestor.SystemScope()
	owner, err := s.Engine.View(scope).App(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	task := gestor.Task{TenantID: owner.TenantID, AppID: app, Kind: gestor.TaskPrepare}
	if got := tokenOf(t, vault, task); got != "second" {
		t.Errorf("a task of no deployment gets %q", got)
	}
	task.DeploymentID = "dep_1"
	if got := tokenOf(t, vault, task); got != "first" {
		t.Errorf("the deployment's task gets %q", got)
	}
	task.Kind = gestor.TaskSwitch
	task.Spec, err = proto.Marshal(&agentv1.TaskSpec{Work: &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{
		Revert: true, Release: &agentv1.ReleaseSpec{Id: "rel_none"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ForTask(context.Background(), task); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("going back to a release that is not there: %v", err)
	}
}

func tokenOf(t *testing.T, v *nodes.Vault, task gestor.Task) string {
	t.Helper()
	got, err := v.ForTask(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return got.GetEnv()["TOKEN"]
}

func TestSession_FailsATaskWhoseKeyIsLostWithWordsAndTheFix(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	other, err := secret.Create(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": other.Seal([]byte("x"), gestor.EnvPlace(app, "TOKEN"))}})
	s.lease("tsk_1", gestor.TaskPrepare, app, a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskFailed)
	why := s.task("tsk_1").Error
	for _, words := range []string{"the variable TOKEN of app shop cannot be read", other.Sealing(), "put the key back", "set the variable anew"} {
		if !strings.Contains(why, words) {
			t.Errorf("%q does not say %q", why, words)
		}
	}
}
