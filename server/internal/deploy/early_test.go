package deploy

import (
	"testing"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

// A command before the switch, and a program, run with the app's variables as soon as a host is prepared.
func TestDecide_PreparesNothingThatRunsBeforeItMaySwitch(t *testing.T) {
	for name, what := range map[string]func(*snapshot){
		"a command before the switch": func(s *snapshot) { s.Deployment.Settings.PreSwitch = "npm run migrate" },
		"a program":                   func(s *snapshot) { s.Release.Artifact.Kind = gestor.KindProcess },
	} {
		t.Run(name, func(t *testing.T) {
			s := stepping(gestor.DeploymentBuilding, stepPrepare, gestor.TaskSucceeded, gestor.TaskSucceeded)
			s.Tasks = nil
			what(&s)
			if op, ok := only(t, decide(s)).(command.AdvanceDeployment); !ok || op.To != gestor.DeploymentPreparing || len(op.Tasks) > 0 {
				t.Fatalf("built: got %+v", op)
			}
			s.Deployment.State, s.Now = gestor.DeploymentPreparing, moment("2026-11-28 12:00")
			p := gestor.Protection{Environment: "production", RequireApproval: true, Approvals: 1}
			s.Case = protect.Case{Deployment: s.Deployment, Protections: []gestor.Protection{p}}
			hold, ok := only(t, decide(s)).(command.HoldDeployment)
			if !ok || !hold.Approval {
				t.Fatalf("not approved: got %+v", hold)
			}
			s = s.asked("2026-11-28 12:00", hold)
			if again := decide(s); len(again) > 0 {
				t.Errorf("it waits, and got %+v", again)
			}
			s.Case.Approvals = []gestor.Approval{{UserID: "usr_2"}}
			if op, ok := only(t, decide(s)).(command.HoldDeployment); !ok || op.Waiting != "" {
				t.Fatalf("approved: got %+v", op)
			}
			s.Deployment.Waiting = ""
			if op, ok := only(t, decide(s)).(command.AdvanceDeployment); !ok || len(op.Tasks) != 2 {
				t.Errorf("approved: got %+v", op)
			}
		})
	}
}

func only(t *testing.T, ops []command.Op) command.Op {
	t.Helper()
	if len(ops) != 1 {
		t.Fatalf("got %+v", ops)
	}
	return ops[0]
}
