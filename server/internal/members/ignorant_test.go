package members_test

import (
	"testing"
	"time"
)

// Server c was away while d took the place of b, so that it takes d for a stranger; a is away now.
func TestRunRemoved_AServerThatWasAwayConvincesNobodyThatItWasRemoved(t *testing.T) {
	f, all := three(t)
	a, b, c := all[0], all[1], all[2]
	c.stop()
	d := f.join("srv_d", a, "srv_b")
	f.until("d takes the place of b", d.votersAre("srv_a", "srv_c", "srv_d"))
	b.stop()
	a.stop()
	c.restart(c.port.Address())
	f.until("c takes d for a stranger", func() bool {
		refused, err := d.port.Refuses(t.Context(), "srv_c")
		return refused && err == nil
	})
	select {
	case err := <-d.removed:
		t.Fatalf("d believes it: %v", err)
	case <-time.After(3 * time.Second): // six times what it waits before it asks
	}
}
