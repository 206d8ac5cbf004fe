package progress

import (
	"slices"
	"strings"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"

	"github.com/saas-gestor/gestor/cli/internal/output"
)

// plain prints one line per change, each with the time since the deployment was asked for.
type plain struct {
	p       *output.Printer
	o       Options
	last    *gestorv1.Deployment
	state   gestorv1.DeploymentState
	waiting string
	took    string // what was said of the phase before
	live    bool
	nodes   map[string]string
}

// Deployment implements View.
func (v *plain) Deployment(d *gestorv1.Deployment) {
	v.last = d
	if isLive(d) && !v.live {
		v.live = true
		v.say(liveAfter(v.p, d), "live")
	}
	v.phase(d)
	if w := d.GetWaiting(); w != v.waiting {
		v.waiting = w
		if w != "" {
			v.say(since(v.p, d), "waiting: "+w)
		}
	}
	for _, n := range d.GetNodes() {
		v.node(d, n)
	}
}

func liveAfter(p *output.Printer, d *gestorv1.Deployment) time.Duration {
	if d.GetLiveAt() == nil || d.GetCreatedAt() == nil {
		return since(p, d)
	}
	return d.GetLiveAt().AsTime().Sub(d.GetCreatedAt().AsTime())
}

func (v *plain) phase(d *gestorv1.Deployment) {
	if d.GetState() == v.state || d.GetRollback() && d.GetState() == gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING {
		return // a rollback builds nothing: its first state lasts a moment
	}
	v.state = d.GetState()
	text := output.Enum(v.state, "DEPLOYMENT_STATE_")
	switch v.state {
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING:
		text += buildName(d)
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_PREPARING, gestorv1.DeploymentState_DEPLOYMENT_STATE_SWITCHING:
		if name := d.GetRelease().GetName(); name != "" {
			text += " release " + name
		}
	default: // the state says it all
	}
	if took := v.previous(d); took != "" && took != v.took {
		v.took = took
		text += "  (" + took + ")"
	}
	v.say(since(v.p, d), text)
}

// previous is the phase that ended last and how long it took.
func (v *plain) previous(d *gestorv1.Deployment) string {
	for _, phase := range slices.Backward(d.GetPhases()) {
		if phase.GetFinishedAt() != nil {
			return phase.GetName() + " took " + v.p.Between(phase.GetStartedAt(), phase.GetFinishedAt())
		}
	}
	return ""
}

func (v *plain) node(d *gestorv1.Deployment, n *gestorv1.DeploymentNode) {
	if v.nodes == nil {
		v.nodes = map[string]string{}
	}
	key := n.GetTaskKind() + n.GetTaskState() + n.GetError()
	if v.nodes[n.GetNodeId()] == key || key == "" || passing(n) {
		return
	}
	v.nodes[n.GetNodeId()] = key
	v.say(since(v.p, d), "  "+n.GetNodeName()+"  "+nodeLine(n))
}

// passing reports whether a node is in a state that lasts milliseconds: given a task, or about to be, with nothing to
// wait for. Printing those would bury what matters.
func passing(n *gestorv1.DeploymentNode) bool {
	switch n.GetTaskState() {
	case "queued", "leased":
		return n.GetDetail() == ""
	case "running":
		return n.GetTaskKind() != "prepare"
	}
	return false
}

func (v *plain) say(at time.Duration, text string) {
	v.p.Linef("%8s  %s", output.Elapsed(at), text)
}

// Log implements View.
func (v *plain) Log(lines []*gestorv1.LogLine) {
	if v.o.Logs {
		for _, l := range lines {
			v.p.Linef("%8s  | %s", "", output.Styled(output.CleanLog(l.GetText(), v.p.Colours)))
		}
	}
}

// Notice implements View.
func (v *plain) Notice(text string) { v.p.Notef("%8s  %s", "", text) }

// Tick implements View.
func (v *plain) Tick() {}

// Close implements View.
func (v *plain) Close() {}

func buildName(d *gestorv1.Deployment) string {
	b := d.GetBuild()
	parts := []string{}
	if b.GetRef() != "" {
		parts = append(parts, b.GetRef())
	}
	if b.GetCommit() != "" {
		parts = append(parts, output.Short(b.GetCommit()))
	}
	if len(parts) == 0 {
		return ""
	}
	return " " + strings.Join(parts, " ")
}
