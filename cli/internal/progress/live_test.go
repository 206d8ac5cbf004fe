package progress_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/cli/internal/progress"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func newView(o progress.Options) (progress.View, *bytes.Buffer) {
	out := &bytes.Buffer{}
	p := &output.Printer{Out: out, Err: out, Now: func() time.Time { return time.Unix(100, 0) }}
	return progress.New(p, o), out
}

func building() *gestorv1.Deployment {
	return &gestorv1.Deployment{
		Id: "dep_1", State: gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING, CreatedAt: timestamppb.New(time.Unix(95, 0)),
		Phases: []*gestorv1.Phase{{Name: "build", StartedAt: timestamppb.New(time.Unix(95, 0))}},
		Build:  &gestorv1.Build{Message: "evil \x1b]0;t\x07 message " + strings.Repeat("long ", 50)},
		Nodes:  []*gestorv1.DeploymentNode{{NodeId: "n", NodeName: "web1", TaskKind: "build", Detail: "install\x1b[2J"}},
	}
}

func TestLive_RedrawsItsRegionAndNothingAboveIt(t *testing.T) {
	v, out := newView(progress.Options{Live: true, Width: 60})
	v.Deployment(building())
	v.Log([]*gestorv1.LogLine{{Text: "one"}, {Text: "two\x1b[1;1H"}})
	v.Tick()
	v.Notice("connection lost")
	v.Close()
	ups := regexp.MustCompile(`\x1b\[(\d+)A`).FindAllStringSubmatch(out.String(), -1)
	// 2 lines before the tick; 4 with the log at the notice; nothing between notice and redraw; 4 at the close
	var counts []string
	for _, u := range ups {
		counts = append(counts, u[1])
	}
	if got := strings.Join(counts, " "); got != "2 4 4" {
		t.Errorf("moved up by %s lines", got)
	}
}

func TestLive_FitsTheTerminalAndPassesNothingOn(t *testing.T) {
	v, out := newView(progress.Options{Live: true, Width: 60})
	v.Deployment(building())
	v.Close()
	text := regexp.MustCompile(`\x1b\[\d+A\r\x1b\[J`).ReplaceAllString(out.String(), "")
	if strings.ContainsAny(text, "\x1b\x07") {
		t.Errorf("passed on %q", text)
	}
	for line := range strings.Lines(text) {
		if n := output.Width(strings.TrimSpace(line)); n > 59 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestPlain_SaysEachChangeOnce(t *testing.T) {
	v, out := newView(progress.Options{})
	v.Deployment(building())
	v.Deployment(building())
	v.Tick()
	v.Log([]*gestorv1.LogLine{{Text: "not asked for"}})
	d := building()
	d.State, d.Waiting = gestorv1.DeploymentState_DEPLOYMENT_STATE_WATCHING, "nothing"
	d.LiveAt = timestamppb.New(time.Unix(99, 0))
	v.Deployment(d)
	v.Deployment(d)
	v.Close()
	want := "    5.0s  building\n    5.0s    web1  build: install\n    4.0s  live\n    5.0s  watching\n    5.0s  waiting: nothing\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
