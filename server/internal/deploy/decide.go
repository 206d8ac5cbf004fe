package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

// decide returns what to propose for a deployment, in order; nothing while it waits. It is pure.
func decide(s snapshot) []command.Op {
	switch s.Deployment.State {
	case gestor.DeploymentBuilding:
		return s.building()
	case gestor.DeploymentPreparing:
		return s.preparing()
	case gestor.DeploymentSwitching:
		return s.switching()
	case gestor.DeploymentWatching:
		return s.watching()
	case gestor.DeploymentReverting:
		return s.reverting()
	case gestor.DeploymentSucceeded, gestor.DeploymentFailed, gestor.DeploymentCancelled:
	}
	return nil
}

func (s *snapshot) building() []command.Op {
	switch {
	case s.Deployment.Cancelling:
		return s.to(gestor.DeploymentCancelled, "", nil, open(s.of(stepBuild)))
	case s.Build != nil && s.Build.Status != gestor.BuildSuccess && s.Build.Status.Ended():
		return s.to(gestor.DeploymentFailed, buildFailure(*s.Build), nil, nil)
	case s.Build != nil && !s.Build.Status.Ended():
		return nil
	case s.Release == nil:
		return s.to(gestor.DeploymentPreparing, "", nil, nil) // this makes the release, whose name the tasks need
	}
	if s.early() {
		return s.to(gestor.DeploymentPreparing, "", nil, nil) // and see whether that may be
	}
	return s.to(gestor.DeploymentPreparing, "", s.missing(stepPrepare), s.tidying())
}

// early reports whether preparing a node runs what is deployed, so that it needs what the switch needs.
func (s *snapshot) early() bool { return protect.Early(s.Deployment, *s.Release) }

func buildFailure(b gestor.Build) string {
	if b.Status == gestor.BuildCancelled {
		return fmt.Sprintf("build %d was cancelled", b.Number)
	}
	if b.Error == "" {
		return fmt.Sprintf("build %d failed; its log has the reason", b.Number)
	}
	return fmt.Sprintf("build %d failed: %s", b.Number, b.Error)
}

// tidying are the tasks that still tidy up after earlier deployments, to be cancelled: they would hold the app's resource
// for the whole drain, and this deployment tidies up again at its end. A removal would even take away what it brings.
func (s *snapshot) tidying() []gestor.TaskID {
	var ids []gestor.TaskID
	for _, t := range s.Tidying {
		if !t.Cancelling {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

func (s *snapshot) preparing() []command.Op {
	tasks := s.of(stepPrepare)
	switch why := s.failure(tasks); {
	case why != "":
		return s.to(gestor.DeploymentFailed, why, s.retires(), open(tasks))
	case s.Deployment.Cancelling:
		return s.to(gestor.DeploymentCancelled, "", s.retires(), open(tasks))
	case s.Release == nil:
		return nil
	case len(s.missing(stepPrepare)) > 0:
		return s.prepares()
	case all(tasks):
		return s.prepared()
	}
	return nil
}

// prepares gives out what prepares the nodes, unless that is held like a switch.
func (s *snapshot) prepares() []command.Op {
	if s.early() {
		if hold := s.Case.Hold(s.Now); hold.Waits() {
			return s.held(hold)
		}
		if s.Deployment.Waiting != "" {
			return []command.Op{command.HoldDeployment{ID: s.Deployment.ID}} // for nothing any more
		}
	}
	return s.to(gestor.DeploymentPreparing, "", s.missing(stepPrepare), s.tidying())
}

// prepared gives out the switches, unless the protection of the environment holds them.
func (s *snapshot) prepared() []command.Op {
	if hold := s.Case.Hold(s.Now); hold.Waits() {
		return s.held(hold)
	}
	return []command.Op{command.AdvanceDeployment{
		ID: s.Deployment.ID, From: s.Deployment.State, To: gestor.DeploymentSwitching, Tasks: s.missing(stepSwitch),
		JudgedBy: s.Case.JudgedBy(), ClearUntil: s.Case.ClearUntil(s.Now),
	}}
}

// held says once what the deployment waits for, until that took too long.
func (s *snapshot) held(hold protect.Hold) []command.Op {
	d, expires := s.Deployment, s.Case.Expires()
	switch {
	case hold.Missing > 0 && !expires.IsZero() && !s.Now.Before(expires):
		return s.to(gestor.DeploymentCancelled, unapproved(s.Case), s.retires(), nil)
	case d.Waiting == hold.Reason && d.ApprovalAskedAt.IsZero() == (hold.Missing == 0):
		return nil
	}
	return []command.Op{command.HoldDeployment{ID: d.ID, Waiting: hold.Reason, Approval: hold.Missing > 0}}
}

func unapproved(c protect.Case) string {
	return fmt.Sprintf("it was not approved within %d days: %d of %d approvals", int(gestor.ApprovalTime.Hours())/24, len(c.Approvals), c.Needed())
}

func (s *snapshot) switching() []command.Op {
	tasks := s.of(stepSwitch)
	switch why := s.failure(tasks); {
	case why != "" || s.Deployment.Cancelling:
		return s.back(why)
	case len(s.missing(stepSwitch)) > 0:
		return s.to(gestor.DeploymentSwitching, "", s.missing(stepSwitch), nil)
	case all(tasks):
		return s.to(gestor.DeploymentWatching, "", s.missing(stepWatch), nil)
	}
	return nil
}

func (s *snapshot) watching() []command.Op {
	tasks := s.of(stepWatch)
	switch why := s.failure(tasks); {
	case why != "" || s.Deployment.Cancelling:
		return s.back(why)
	case len(s.missing(stepWatch)) > 0:
		return s.to(gestor.DeploymentWatching, "", s.missing(stepWatch), nil)
	case all(tasks):
		return s.to(gestor.DeploymentSucceeded, "", append(s.retires(), s.removals()...), nil)
	}
	return nil
}

// back begins the revert and stops what else is under way.
func (s *snapshot) back(why string) []command.Op {
	return s.to(gestor.DeploymentReverting, why, s.reverts(), append(open(s.of(stepSwitch)), open(s.of(stepWatch))...))
}

// reverting goes on until every node where the switch may have begun is back. A switch that was leased while the revert
// was decided, and a revert that failed, get another task.
func (s *snapshot) reverting() []command.Op {
	if more := s.reverts(); len(more) > 0 {
		return s.to(gestor.DeploymentReverting, s.revertTrouble(), more, nil)
	}
	if stop := open(s.Tasks); len(stop) > 0 {
		return s.to(gestor.DeploymentReverting, "", nil, stop)
	}
	if slices.ContainsFunc(s.Tasks, func(w work) bool { return !w.State.Ended() }) {
		return nil
	}
	if s.Deployment.Cancelling && !slices.ContainsFunc(s.Tasks, goesLive) {
		return s.to(gestor.DeploymentCancelled, s.cause(), s.retires(), nil)
	}
	return s.to(gestor.DeploymentFailed, s.cause(), s.retires(), nil)
}

// goesLive reports a task that failed in making a release live, whatever was cancelled besides.
func goesLive(w work) bool {
	return (w.Step == stepSwitch || w.Step == stepWatch) && w.State == gestor.TaskFailed
}

// cause is why the deployment failed, without what kept it from going back.
func (s *snapshot) cause() string {
	why, trouble, _ := strings.Cut(s.Deployment.Error, troubleMark)
	if why == "" && trouble != "" {
		return "it was cancelled; going back took more than one attempt"
	}
	return why
}

// revertTrouble is the deployment's error with what keeps it from going back; empty if nothing does.
func (s *snapshot) revertTrouble() string {
	var failed []work
	for _, n := range s.Deployment.Nodes {
		if last, ok := s.last(stepRevert, n); ok && last.State != gestor.TaskSucceeded && last.State.Ended() {
			failed = append(failed, last)
		}
	}
	if len(failed) == 0 {
		return ""
	}
	why, _, _ := strings.Cut(s.Deployment.Error, troubleMark)
	return why + troubleMark + s.describe(failed) + "; it is tried again"
}

// troubleMark parts a deployment's own error from that of its revert.
const troubleMark = " | going back has not worked yet: "

// to moves the deployment on.
func (s *snapshot) to(state gestor.DeploymentState, why string, tasks []command.CreateTask, cancel []gestor.TaskID) []command.Op {
	return []command.Op{command.AdvanceDeployment{
		ID: s.Deployment.ID, From: s.Deployment.State, To: state, Tasks: tasks, Error: why, CancelTasks: cancel,
	}}
}

// failure says why a step failed; empty if it has not.
func (s *snapshot) failure(tasks []work) string {
	var failed []work
	for _, t := range tasks {
		if t.State.Ended() && t.State != gestor.TaskSucceeded && !s.undecided(t) {
			failed = append(failed, t)
		}
	}
	if len(failed) > 0 {
		return s.describe(failed)
	}
	for _, n := range s.Deployment.Nodes {
		if !s.exists(n) {
			return fmt.Sprintf("node %s was deleted during the deployment", n)
		}
	}
	return ""
}

// undecided reports a lost task that waits for a person to retry or cancel it.
func (s *snapshot) undecided(t work) bool {
	return t.State == gestor.TaskLost && t.OnLost == gestor.LostHold && s.exists(target(t.Task))
}

// all reports whether there are tasks and all succeeded.
func all(tasks []work) bool {
	return len(tasks) > 0 && !slices.ContainsFunc(tasks, func(w work) bool { return w.State != gestor.TaskSucceeded })
}

// open are the tasks that can still be stopped and have not been asked to.
func open(tasks []work) []gestor.TaskID {
	var ids []gestor.TaskID
	for _, t := range tasks {
		if !t.State.Ended() && !t.Cancelling && t.Step != stepRevert {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// describe says what failed where: "web-1: GET /health answered 500 for 60 s".
func (s *snapshot) describe(failed []work) string {
	const most = 3
	var parts []string
	for i, t := range failed {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more nodes", len(failed)-most))
			break
		}
		why := t.Error
		switch {
		case why != "" && t.State != gestor.TaskCancelled:
		case t.State == gestor.TaskCancelled:
			why = fmt.Sprintf("the %s was cancelled", t.Step)
		default:
			why = fmt.Sprintf("the %s ended as %s; its log has the reason", t.Step, t.State)
		}
		parts = append(parts, s.name(t.NodeID)+": "+why)
	}
	return strings.Join(parts, "; ")
}
