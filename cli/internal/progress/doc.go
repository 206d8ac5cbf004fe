// Package progress shows a deployment while it happens. On a terminal it is a small region that is redrawn: the phases
// with their times, a line per node, the last lines of the build's log. Elsewhere it is one line per change. Both show
// the same facts; neither talks to a server or decides when it is over.
package progress

import (
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"

	"github.com/saas-gestor/gestor/cli/internal/output"
)

// View shows a deployment. Its methods are called from one goroutine; Close comes last.
type View interface {
	Deployment(d *gestorv1.Deployment) // it changed
	Log(lines []*gestorv1.LogLine)     // its build printed something
	Notice(text string)                // something for the reader, once
	Tick()                             // time passed
	Close()                            // leave the last state behind
}

// Options is how to show it.
type Options struct {
	Live  bool // redraw a region; else one line per change
	Logs  bool // print the whole log
	Width int  // columns of the terminal; 80 if 0
}

// New returns the view for p.
func New(p *output.Printer, o Options) View {
	if o.Width <= 0 {
		o.Width = 80
	}
	if o.Live {
		return &live{p: p, o: o}
	}
	return &plain{p: p, o: o}
}

// phaseWord is how a phase reads in a list.
func phaseWord(name string) string {
	switch name {
	case "build":
		return "building"
	case "prepare":
		return "preparing"
	case "switch":
		return "switching"
	case "watch":
		return "watching"
	case "revert":
		return "reverting"
	default:
		return name
	}
}

func since(p *output.Printer, d *gestorv1.Deployment) time.Duration {
	if d.GetCreatedAt() == nil {
		return 0
	}
	return p.Now().Sub(d.GetCreatedAt().AsTime())
}

func isLive(d *gestorv1.Deployment) bool {
	switch d.GetState() {
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_WATCHING, gestorv1.DeploymentState_DEPLOYMENT_STATE_SUCCEEDED:
		return true
	default:
		return false
	}
}

// nodeLine says what a node is doing.
func nodeLine(n *gestorv1.DeploymentNode) string {
	text := n.GetTaskKind()
	if n.GetTaskState() != "" {
		text += " " + n.GetTaskState()
	}
	if n.GetSwitched() {
		text += ", serves the new release"
	}
	if n.GetError() != "" {
		return text + ": " + n.GetError()
	}
	if n.GetDetail() != "" {
		return text + ": " + n.GetDetail()
	}
	return text
}
