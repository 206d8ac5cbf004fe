package diskspace

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

func TestReserve_IsBoundedOnSmallAndLargeDisks(t *testing.T) {
	for total, want := range map[uint64]uint64{8 << 30: 1 << 30, 100 << 30: 5 << 30, 4 << 40: 10 << 30} {
		if got := (Options{}).reserve(total); got != want {
			t.Errorf("of %d GiB: got %d MiB", total>>30, got>>20)
		}
	}
	if got := (Options{Reserve: 5}).reserve(1 << 40); got != 5 {
		t.Errorf("got %d", got)
	}
}

func TestGuard_MeasuresARealDisk(t *testing.T) {
	g, err := New(Options{Dir: t.TempDir(), Reserve: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil || g.Free() == 0 || g.Refuse() != nil || g.Notice() != "" {
		t.Errorf("got %d, %v", g.Free(), err)
	}
	if _, err := New(Options{Dir: "/nonexistent", Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a directory that is not there has room")
	}
}

// disk is a disk whose room the test sets.
type disk struct {
	free  atomic.Uint64
	leads atomic.Bool
	to    atomic.Pointer[string]
	asked func() // while leadership is given away
}

func (d *disk) guard(t *testing.T, voters map[string]uint64) *Guard {
	t.Helper()
	d.leads.Store(true)
	g, err := New(Options{
		Dir: "/data", Reserve: 1000 << 20, Log: slog.New(slog.DiscardHandler), Leads: d.leads.Load,
		Measure: func(string) (uint64, uint64, error) { return d.free.Load(), 1 << 40, nil },
		Voters:  func(context.Context) (map[string]uint64, error) { return voters, nil },
		HandOver: func(id string) error {
			if d.asked != nil {
				d.asked()
			}
			d.to.Store(&id)
			d.leads.Store(false)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func watch(t *testing.T, g *Guard, body func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	body()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGuard_RefusesBelowTheReserveAndRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		d.free.Store(2000 << 20)
		g := d.guard(t, nil)
		watch(t, g, func() {
			for _, step := range []struct {
				free uint64
				low  bool
			}{{1001 << 20, false}, {999 << 20, true}, {1050 << 20, true}, {1200 << 20, false}, {1050 << 20, false}} {
				d.free.Store(step.free)
				<-time.After(1500 * time.Millisecond)
				err := g.Refuse()
				if (err != nil) != step.low {
					t.Errorf("with %d MiB: %v", step.free>>20, err)
				}
				if err != nil && (!errors.Is(err, fault.KindExhausted) || !strings.Contains(err.Error(), "/data") || g.Notice() == "") {
					t.Errorf("the refusal does not help: %v", err)
				}
			}
		})
		if d.to.Load() != nil {
			t.Errorf("leadership went to %s, which there is not", *d.to.Load())
		}
	})
}

func TestGuard_HandsLeadershipToTheVoterWithTheMostRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		d.free.Store(10 << 20)
		g := d.guard(t, map[string]uint64{"full": 20 << 20, "tight": 1001 << 20, "some": 2000 << 20, "most": 9000 << 20})
		d.asked = func() {
			if err := g.Refuse(); err != nil {
				t.Errorf("refused while leadership is given away: %v", err)
			}
		}
		watch(t, g, func() { <-time.After(3 * time.Second) })
		if to := d.to.Load(); to == nil || *to != "most" {
			t.Errorf("leadership went to %v", to)
		}
	})
}
