package limit_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/server/internal/limit"
)

func TestRates_OnePartysFloodLeavesAnothersAllowanceWhole(t *testing.T) {
	now := time.Now()
	r := limit.NewRates(limit.RatesOptions{PerSecond: 10, Burst: 5, Now: func() time.Time { return now }})
	through := 0
	for range 1000 {
		if r.Take("loud") == 0 {
			through++
		}
	}
	if through != 5 {
		t.Fatalf("%d calls went through, want the burst of 5", through)
	}
	if wait := r.Take("quiet"); wait != 0 {
		t.Fatalf("another party has to wait %v", wait)
	}
	if wait := r.Take("loud"); wait <= 0 || wait > 100*time.Millisecond {
		t.Fatalf("the wait is %v, want the time of one call, although a thousand were refused", wait)
	}
	now = now.Add(time.Second / 10)
	if wait := r.Take("loud"); wait != 0 {
		t.Fatalf("after the wait it is still %v", wait)
	}
}

func TestRates_ZeroMeansNoLimit(t *testing.T) {
	r := limit.NewRates(limit.RatesOptions{})
	for range 100000 {
		if r.Take("a") != 0 {
			t.Fatal("refused without a limit")
		}
	}
}

func TestRates_ManyStrangersTakeBoundedMemoryAndNothingFromThoseKnown(t *testing.T) {
	now := time.Now()
	const most = 1000
	r := limit.NewRates(limit.RatesOptions{PerSecond: 10, Burst: 10, Most: most, Now: func() time.Time { return now }})
	r.Take("known")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	refused := 0
	for i := range 200000 {
		if r.Take(fmt.Sprint("stranger ", i)) > 0 {
			refused++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if r.Len() > most {
		t.Fatalf("%d parties are kept", r.Len())
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Fatalf("memory grew by %d bytes", grown)
	}
	if refused < 190000 {
		t.Fatalf("only %d of the strangers beyond the bound were refused", refused)
	}
	if wait := r.Take("known"); wait != 0 {
		t.Fatalf("who was there before has to wait %v", wait)
	}
	now = now.Add(time.Minute) // everybody is as good as new
	if wait := r.Take("new"); wait != 0 || r.Len() > 2 {
		t.Fatalf("after a minute: wait %v, %d parties kept", wait, r.Len())
	}
}

func TestCounts_BoundEachPartyAndAll(t *testing.T) {
	c := &limit.Counts{Most: 2, MostAll: 3}
	first, ok1 := c.Enter("a")
	_, ok2 := c.Enter("a")
	_, ok3 := c.Enter("a")
	_, ok4 := c.Enter("b")
	_, ok5 := c.Enter("c")
	if !ok1 || !ok2 || ok3 || !ok4 || ok5 {
		t.Fatalf("got %v %v %v %v %v", ok1, ok2, ok3, ok4, ok5)
	}
	first()
	first() // counts once
	if _, ok := c.Enter("c"); !ok || c.Len() != 3 {
		t.Fatalf("after one left: %v, %d held", ok, c.Len())
	}
}

func TestSlots_WaitAMomentInOrderAndThenRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.NewSlots(limit.SlotsOptions{Running: 1, Waiting: 1, Patience: time.Second})
		leave, ok := s.Enter(t.Context(), "a")
		if !ok {
			t.Fatal("the first was refused")
		}
		var g sync.WaitGroup
		g.Go(func() {
			begun := time.Now()
			if _, ok := s.Enter(t.Context(), "b"); ok || time.Since(begun) != time.Second {
				t.Errorf("the one who waits: %v after %v", ok, time.Since(begun))
			}
		})
		synctest.Wait()
		if _, ok := s.Enter(t.Context(), "c"); ok {
			t.Error("more wait than may")
		}
		g.Wait()
		g.Go(func() {
			out, ok := s.Enter(t.Context(), "b")
			if !ok {
				t.Error("who waited got no place that became free")
				return
			}
			out()
		})
		synctest.Wait()
		leave()
		g.Wait()
		if s.Len() != 0 {
			t.Errorf("%d are still inside", s.Len())
		}
	})
}

func TestSlots_OnePartyNeverTakesMoreThanItsShare(t *testing.T) {
	s := limit.NewSlots(limit.SlotsOptions{Running: 4, Waiting: 4, Share: 2, Patience: time.Minute})
	for i := range 2 {
		if _, ok := s.Enter(t.Context(), "loud"); !ok {
			t.Fatalf("call %d of the share was refused", i)
		}
	}
	if _, ok := s.Enter(t.Context(), "loud"); ok {
		t.Fatal("more than the share went in")
	}
	if _, ok := s.Enter(t.Context(), "quiet"); !ok {
		t.Fatal("another party found no place")
	}
}

func TestSlots_WhoLeavesWhileWaitingTakesNoPlace(t *testing.T) {
	s := limit.NewSlots(limit.SlotsOptions{Running: 1, Waiting: 1, Patience: time.Minute})
	leave, _ := s.Enter(t.Context(), "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := s.Enter(ctx, "b"); ok {
		t.Fatal("went in although its caller is gone")
	}
	leave()
	if _, ok := s.Enter(t.Context(), "c"); !ok {
		t.Fatal("the place was lost")
	}
}

func BenchmarkRates_Take(b *testing.B) {
	r := limit.NewRates(limit.RatesOptions{PerSecond: 1e9, Burst: 1e9})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Take("tenant")
		}
	})
}
