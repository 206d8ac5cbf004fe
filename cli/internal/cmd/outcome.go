package cmd

import (
	"context"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// outcome says how it ended.
func (r *run) outcome(ctx context.Context, conn *client.Client, app string, d *gestorv1.Deployment) error {
	switch d.GetState() {
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_FAILED:
		return r.failedDeployment(ctx, conn, app, d)
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_CANCELLED:
		if why := d.GetError(); why != "" {
			return failed("deployment %s of %s was cancelled: %s; what was live before is live", d.GetId(), app, why)
		}
		return failed("deployment %s of %s was cancelled; what was live before is live", d.GetId(), app)
	default:
		r.live(ctx, conn, app, d)
		return nil
	}
}

// live says what is live now, and where.
func (r *run) live(ctx context.Context, conn *client.Client, app string, d *gestorv1.Deployment) {
	if r.out.JSON {
		return
	}
	what := "release " + d.GetRelease().GetName()
	if c := d.GetRelease().GetCommit(); c != "" {
		what += ", " + output.Short(c)
	}
	if took := liveAfter(r.out, d); took != "" {
		what += " in " + took
	}
	r.out.Linef("%s %s", r.out.Paint(output.Green, app+" is live:"), what)
	if !d.GetRollback() {
		r.showAddresses(ctx, conn, app)
	}
}

// showAddresses is a courtesy: it fails silently.
func (r *run) showAddresses(ctx context.Context, conn *client.Client, app string) {
	res, err := conn.Apps().GetApp(ctx, &gestorv1.GetAppRequest{App: app})
	if err != nil {
		return
	}
	for _, a := range res.GetApp().GetAddresses() {
		r.out.Linef("  %s", a)
	}
}

// failedDeployment shows why, the end of the log, and what to try.
func (r *run) failedDeployment(ctx context.Context, conn *client.Client, app string, d *gestorv1.Deployment) error {
	why, excerpt, _ := strings.Cut(strings.TrimSpace(d.GetError()), "\n")
	err := failed("deployment %s of %s failed: %s", d.GetId(), app, why)
	if r.out.JSON {
		return err.withFix("see: gestor logs --deployment %s", d.GetId())
	}
	r.reportText(err)
	task, look := failedTask(app, d)
	if excerpt == "" && task != "" {
		excerpt = r.lastLines(ctx, conn, task)
	}
	for l := range strings.Lines(excerpt) {
		r.out.Notef("  │ %s", l)
	}
	if d.GetPreviousReleaseId() != "" {
		r.out.Notef("what was live before is live")
	}
	r.out.Notef("  see more   %s", look)
	r.out.Notef("  try again  gestor deploy %s", app)
	return reported{err}
}

// failedTask is the task whose log tells why, and the command that shows it.
func failedTask(app string, d *gestorv1.Deployment) (id, look string) {
	for _, n := range d.GetNodes() {
		if n.GetError() != "" && n.GetTaskId() != "" {
			return n.GetTaskId(), "gestor logs --task " + n.GetTaskId()
		}
	}
	if b := d.GetBuild(); b.GetStatus() == gestorv1.BuildStatus_BUILD_STATUS_FAILED {
		return b.GetTaskId(), "gestor logs " + app + " --build " + number(int(b.GetNumber()))
	}
	return "", "gestor logs --deployment " + d.GetId()
}

const excerptLines = 15

func (r *run) lastLines(ctx context.Context, conn *client.Client, task string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var b strings.Builder
	f := taskTail(conn, task, tailOptions{last: excerptLines}, func(m *gestorv1.TailTaskLogResponse) error {
		for _, l := range m.GetLines() {
			b.WriteString(output.Clean(l.GetText()) + "\n")
		}
		return nil
	})
	_ = f.Run(ctx) // an excerpt is a courtesy; the command that shows the log comes next
	return b.String()
}
