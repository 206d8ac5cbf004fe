package deploy

import (
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

// prepared is a deployment of which everything is prepared, under a protection of its environment.
func prepared(p gestor.Protection, now string) snapshot {
	s := stepping(gestor.DeploymentPreparing, stepPrepare, gestor.TaskSucceeded, gestor.TaskSucceeded)
	p.Environment, p.Revision = "production", 7
	s.Case = protect.Case{Deployment: s.Deployment, Protections: []gestor.Protection{p}}
	s.Now = moment(now)
	return s
}

func moment(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

// asked is s as the state has it after it was held.
func (s snapshot) asked(at string, hold command.HoldDeployment) snapshot {
	s.Deployment.Waiting = hold.Waiting
	if hold.Approval {
		s.Deployment.ApprovalAskedAt = moment(at)
	}
	s.Case.Deployment = s.Deployment
	return s
}

func TestDecide_HoldsWhatIsPreparedUntilItMaySwitch(t *testing.T) {
	friday := gestor.Freeze{Name: "Black Friday", TimeZone: "America/Sao_Paulo", From: "2026-11-27", To: "2026-11-30 08:00"}
	approval := gestor.Protection{RequireApproval: true, Approvals: 1}
	given := []gestor.Approval{{UserID: "usr_2"}}
	for name, c := range map[string]struct {
		protection gestor.Protection
		approvals  []gestor.Approval
		now        string
		switches   bool
	}{
		"nothing is asked":                {gestor.Protection{}, nil, "2026-11-28 12:00", true},
		"an approval is missing":          {approval, nil, "2026-11-28 12:00", false},
		"an approval is there":            {approval, given, "2026-11-28 12:00", true},
		"a moment before the freeze":      {gestor.Protection{Freezes: []gestor.Freeze{friday}}, nil, "2026-11-27 02:59", true},
		"as the freeze begins":            {gestor.Protection{Freezes: []gestor.Freeze{friday}}, nil, "2026-11-27 03:00", false},
		"a moment before the freeze ends": {gestor.Protection{Freezes: []gestor.Freeze{friday}}, nil, "2026-11-30 10:59", false},
		"as the freeze ends":              {gestor.Protection{Freezes: []gestor.Freeze{friday}}, nil, "2026-11-30 11:00", true},
		"approved in the freeze":          {gestor.Protection{RequireApproval: true, Approvals: 1, Freezes: []gestor.Freeze{friday}}, given, "2026-11-28 12:00", false},
	} {
		s := prepared(c.protection, c.now)
		s.Case.Approvals = c.approvals
		ops := decide(s)
		if len(ops) != 1 {
			t.Errorf("%s: got %+v", name, ops)
			continue
		}
		switch op := ops[0].(type) {
		case command.AdvanceDeployment:
			if !c.switches || op.To != gestor.DeploymentSwitching || len(op.Tasks) != 2 || op.JudgedBy != s.Case.JudgedBy() {
				t.Errorf("%s: got %+v", name, op)
			}
		case command.HoldDeployment:
			if c.switches || op.Waiting == "" || op.Approval != (c.protection.RequireApproval && c.approvals == nil) {
				t.Errorf("%s: got %+v", name, op)
			}
			if again := decide(s.asked(c.now, op)); len(again) > 0 {
				t.Errorf("%s: what waits already is told so again: %+v", name, again)
			}
		default:
			t.Errorf("%s: got %T", name, op)
		}
	}
}

func TestDecide_TellsTheSwitchWhenTheNextFreezeBegins(t *testing.T) {
	friday := gestor.Freeze{Name: "x", TimeZone: "UTC", From: "2026-11-27", To: "2026-11-28"}
	op, ok := decide(prepared(gestor.Protection{Freezes: []gestor.Freeze{friday}}, "2026-11-26 12:00"))[0].(command.AdvanceDeployment)
	if !ok || !op.ClearUntil.Equal(moment("2026-11-27 00:00")) || op.JudgedBy != "production@7" {
		t.Errorf("got %+v", op)
	}
}

func TestDecide_CancelsWhatNobodyApprovesInSevenDays(t *testing.T) {
	s := prepared(gestor.Protection{RequireApproval: true, Approvals: 2}, "2026-11-30 11:59")
	hold, ok := decide(s)[0].(command.HoldDeployment)
	if !ok {
		t.Fatal("it is not held")
	}
	s = s.asked("2026-11-23 12:00", hold)
	if ops := decide(s); len(ops) > 0 {
		t.Errorf("a minute before: %+v", ops)
	}
	s.Now = moment("2026-11-30 12:00")
	op, ok := decide(s)[0].(command.AdvanceDeployment)
	if !ok || op.To != gestor.DeploymentCancelled || op.Error != "it was not approved within 7 days: 0 of 2 approvals" || len(op.Tasks) != 2 {
		t.Errorf("got %+v", op)
	}
	s.Case.Approvals = []gestor.Approval{{UserID: "usr_2"}, {UserID: "usr_3"}}
	if op, ok := decide(s)[0].(command.AdvanceDeployment); !ok || op.To != gestor.DeploymentSwitching {
		t.Errorf("approved at the last moment: %+v", op)
	}
}
