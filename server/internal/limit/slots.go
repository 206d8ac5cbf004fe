package limit

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
)

// SlotsOptions say how many. A Running of 0 means no limit.
type SlotsOptions struct {
	Running  int           // at once
	Waiting  int           // for a place, beside those
	Share    int           // of one party, running and waiting; no limit if 0
	Patience time.Duration // how long one waits
}

// Slots bounds what runs at once. Those beyond it wait for a moment, in the order they came, and are refused after that.
type Slots struct {
	o      SlotsOptions
	places *semaphore.Weighted
	inside *Counts // those who run or wait
}

// NewSlots makes a Slots.
func NewSlots(o SlotsOptions) *Slots {
	return &Slots{
		o: o, places: semaphore.NewWeighted(int64(o.Running)),
		inside: &Counts{Most: o.Share, MostAll: o.Running + o.Waiting},
	}
}

// Enter takes a place for a party until leave is called. ok is false if there is none in time; leave is nil then.
func (s *Slots) Enter(ctx context.Context, key string) (leave func(), ok bool) {
	if s.o.Running == 0 {
		return func() {}, true
	}
	out, ok := s.inside.Enter(key)
	if !ok {
		return nil, false
	}
	if !s.places.TryAcquire(1) {
		waiting, cancel := context.WithTimeout(ctx, s.o.Patience)
		defer cancel()
		if s.places.Acquire(waiting, 1) != nil {
			out()
			return nil, false
		}
	}
	return func() { s.places.Release(1); out() }, true
}

// Len is how many run or wait.
func (s *Slots) Len() int { return s.inside.Len() }
