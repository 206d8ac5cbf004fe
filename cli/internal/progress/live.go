package progress

import (
	"fmt"
	"strings"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"

	"github.com/saas-gestor/gestor/cli/internal/output"
)

// folded is how many lines of the log are shown while it grows.
const folded = 6

// live redraws a region at the bottom of the terminal.
type live struct {
	p     *output.Printer
	o     Options
	d     *gestorv1.Deployment
	log   []string
	drawn int // lines of the region on the screen
	frame int
}

// Deployment implements View.
func (v *live) Deployment(d *gestorv1.Deployment) {
	v.d = d
	v.draw(true)
}

// Log implements View.
func (v *live) Log(lines []*gestorv1.LogLine) {
	if v.o.Logs {
		v.erase()
		for _, l := range lines {
			v.p.Linef("%s", output.Styled(output.CleanLog(l.GetText(), v.p.Colours)))
		}
		v.draw(true)
		return
	}
	for _, l := range lines {
		v.log = append(v.log, output.Clean(l.GetText()))
	}
	v.log = v.log[max(0, len(v.log)-folded):]
}

// Notice implements View.
func (v *live) Notice(text string) {
	v.erase()
	v.p.Linef("%s", v.p.Paint(output.Yellow, text))
	v.draw(true)
}

// Tick implements View.
func (v *live) Tick() {
	v.frame++
	v.draw(true)
}

// Close implements View.
func (v *live) Close() { v.draw(false) }

func (v *live) draw(running bool) {
	if v.d == nil {
		return
	}
	lines := v.phases()
	lines = append(lines, v.nodes()...)
	if running {
		lines = append(lines, v.tail()...)
	}
	v.erase()
	for _, l := range lines {
		v.p.Linef("%s", output.Styled(l))
	}
	v.drawn = len(lines)
	if !running {
		v.drawn = 0
	}
}

// erase takes the region off the screen, so that what is printed next stays above it.
func (v *live) erase() {
	if v.drawn > 0 {
		_, _ = fmt.Fprintf(v.p.Out, "\x1b[%dA\r\x1b[J", v.drawn)
		v.drawn = 0
	}
}

func (v *live) phases() []string {
	var lines []string
	for _, ph := range v.d.GetPhases() {
		mark := string(v.p.Paint(output.Green, "✓"))
		if ph.GetFinishedAt() == nil {
			mark = string(v.p.Paint(output.Cyan, v.spinner()))
		}
		text := fmt.Sprintf("%-10s %7s  %s", phaseWord(ph.GetName()), v.p.Between(ph.GetStartedAt(), ph.GetFinishedAt()), v.detail(ph))
		lines = append(lines, mark+" "+output.Cut(output.Clean(text), v.o.Width-3))
	}
	if w := v.d.GetWaiting(); w != "" {
		lines = append(lines, string(v.p.Paint(output.Yellow, output.Cut("  waiting: "+output.Clean(w), v.o.Width-1))))
	}
	return lines
}

func (v *live) detail(ph *gestorv1.Phase) string {
	switch ph.GetName() {
	case "build":
		return strings.TrimSpace(buildName(v.d) + " " + v.d.GetBuild().GetMessage())
	case "prepare":
		return v.d.GetRelease().GetName()
	case "watch":
		return "live"
	default:
		return ""
	}
}

func (v *live) nodes() []string {
	width := 0
	for _, n := range v.d.GetNodes() {
		width = max(width, output.Width(n.GetNodeName()))
	}
	var lines []string
	for _, n := range v.d.GetNodes() {
		text := fmt.Sprintf("    %-*s  %s", width, output.Clean(n.GetNodeName()), output.Clean(nodeLine(n)))
		line := output.Cut(text, v.o.Width-1)
		if n.GetError() != "" {
			line = string(v.p.Paint(output.Red, line))
		}
		lines = append(lines, line)
	}
	return lines
}

func (v *live) tail() []string {
	var lines []string
	for _, l := range v.log {
		lines = append(lines, string(v.p.Paint(output.Dim, output.Cut("    │ "+l, v.o.Width-1))))
	}
	return lines
}

func (v *live) spinner() string {
	frames := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	return frames[v.frame%len(frames)]
}
