package nodes_test

import (
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/nodes"
)

func TestPulse_TellsAPauseOnceAndNoShortGap(t *testing.T) {
	p := nodes.Pulse{Most: 2 * time.Second}
	now := time.Now()
	for i, step := range []struct{ after, want time.Duration }{
		{0, 0},
		{time.Second, 0},
		{time.Minute, time.Minute},
		{time.Second, 0},
	} {
		now = now.Add(step.after)
		if got := p.Beat(now); got != step.want {
			t.Errorf("beat %d: stood still for %s, want %s", i, got, step.want)
		}
	}
	p.Stop()
	if got := p.Beat(now.Add(time.Hour)); got != 0 {
		t.Errorf("stood still for %s while it was not to beat", got)
	}
}
