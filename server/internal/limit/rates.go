package limit

import (
	"cmp"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mostKeys bounds the memory of a Rates to about 4 MB.
const mostKeys = 20000

// sweepPause is the least time between two searches for parties that may be forgotten, so that a flood of new ones does not
// make every call a search.
const sweepPause = time.Second

// RatesOptions say how often. A PerSecond of 0 means no limit.
type RatesOptions struct {
	PerSecond float64
	Burst     int              // how many at once after a pause; at least PerSecond if 0
	Most      int              // parties that are told apart; 20,000 if 0
	Now       func() time.Time // time.Now if nil
}

// Rates is an allowance for each party.
type Rates struct {
	limit rate.Limit
	burst int
	most  int
	now   func() time.Time
	rest  *rate.Limiter // of all parties beyond most

	mu      sync.Mutex
	parties map[string]*rate.Limiter // guarded by mu
	swept   time.Time                // guarded by mu
}

// NewRates makes a Rates.
func NewRates(o RatesOptions) *Rates {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Rates{
		limit: rate.Limit(o.PerSecond), burst: cmp.Or(o.Burst, int(math.Ceil(o.PerSecond))), most: cmp.Or(o.Most, mostKeys),
		now: o.Now, parties: map[string]*rate.Limiter{},
	}
	r.rest = rate.NewLimiter(r.limit, r.burst)
	return r
}

// Take takes one call from a party's allowance. It returns 0 to go ahead, or how long to wait; who has to wait has taken
// nothing.
func (r *Rates) Take(key string) time.Duration {
	if r.limit == 0 {
		return 0
	}
	now := r.now()
	limiter := r.of(key, now)
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (r *Rates) of(key string, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.parties[key]; ok {
		return l
	}
	if len(r.parties) >= r.most && !r.sweep(now) {
		return r.rest
	}
	l := rate.NewLimiter(r.limit, r.burst)
	r.parties[key] = l
	return l
}

// sweep forgets the parties whose allowance is whole again: they are as good as new. It reports whether there is room.
func (r *Rates) sweep(now time.Time) bool {
	if now.Sub(r.swept) < sweepPause {
		return false
	}
	r.swept = now
	for key, l := range r.parties {
		if l.TokensAt(now) >= float64(r.burst) {
			delete(r.parties, key)
		}
	}
	return len(r.parties) < r.most
}

// Len is how many parties are told apart now.
func (r *Rates) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.parties)
}
