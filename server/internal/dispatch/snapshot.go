package dispatch

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/scheduler"
)

func node(n gestor.Node) scheduler.Node {
	var facts gestorv1.NodeFacts
	_ = proto.Unmarshal(n.Facts, &facts) // facts that cannot be read are no facts
	return scheduler.Node{
		ID: n.ID, TenantID: n.TenantID, Shared: n.Shared, Name: n.Name, Status: n.Status, Since: n.StatusSince, Draining: n.Draining,
		CPUs: int(facts.GetCpus()), Forbidden: facts.GetForbiddenKinds(),
	}
}

// buildLabel names a build by its number, "build 12 of shop".
func buildLabel(t gestor.Task) string {
	if t.Kind != gestor.TaskBuild {
		return ""
	}
	var spec agentv1.TaskSpec
	if err := proto.Unmarshal(t.Spec, &spec); err != nil || spec.GetBuild() == nil {
		return ""
	}
	return fmt.Sprintf("build %d of %s", spec.GetBuild().GetNumber(), spec.GetBuild().GetApp().GetSlug())
}

// explanation is the reason that was last recorded for a task.
type explanation struct {
	why string
	at  time.Time
}

// patience is how long a task waits before it is told why: most wait for a moment only, and a reason costs a commit.
const patience = 50 * time.Millisecond

// explain picks the reasons that changed, at most one per task and Times.Explain. It returns when the rest is due.
func (t *term) explain(queued []gestor.Task, waiting map[gestor.TaskID]string, now time.Time) (map[gestor.TaskID]string, time.Time) {
	changed := map[gestor.TaskID]string{}
	var next time.Time
	seen := make(map[gestor.TaskID]explanation, len(waiting))
	for _, task := range queued {
		why, waits := waiting[task.ID]
		if !waits {
			continue
		}
		last, known := t.explained[task.ID]
		if !known {
			last.at = now.Add(patience - t.times.Explain)
		}
		due := last.at.Add(t.times.Explain)
		switch {
		case why == task.Waiting:
			seen[task.ID] = last
		case now.Before(due):
			seen[task.ID] = last
			next = earlier(next, due)
		default:
			changed[task.ID] = why
			seen[task.ID] = explanation{why, now}
		}
	}
	t.explained = seen
	return changed, next
}
