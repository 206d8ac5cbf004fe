package auth

import (
	"net/netip"
	"sync"
	"time"
)

// Throttle slows down guessing. It counts failures per key in memory on this server: writing each failure to the
// replicated state would let anybody make the cluster write. It is safe for concurrent use.
type Throttle struct {
	free  int           // failures without consequence
	first time.Duration // the wait after the next one; doubles with each
	most  time.Duration // the longest wait
	now   func() time.Time

	mu      sync.Mutex
	entries map[string]*failures // guarded by mu
}

type failures struct {
	count int
	until time.Time // no attempt before
	last  time.Time
}

// mostEntries bounds the memory an attacker with many addresses can take: about 2 MB.
const mostEntries = 20000

// ThrottleOptions say how hard to brake. Zeroes mean 5 failures, then 1 s doubling up to 15 min.
type ThrottleOptions struct {
	Free        int
	First, Most time.Duration
	Now         func() time.Time
}

// NewThrottle makes a Throttle.
func NewThrottle(o ThrottleOptions) *Throttle {
	t := &Throttle{free: o.Free, first: o.First, most: o.Most, now: o.Now, entries: map[string]*failures{}}
	if t.free == 0 {
		t.free = 5
	}
	if t.first == 0 {
		t.first = time.Second
	}
	if t.most == 0 {
		t.most = 15 * time.Minute
	}
	if t.now == nil {
		t.now = time.Now
	}
	return t
}

// Take asks to make an attempt under all keys. It returns how long to wait, 0 to go ahead; an attempt that goes ahead
// counts as failed until Succeeded, so that many at once do not slip through before the first answer.
func (t *Throttle) Take(keys ...string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	var wait time.Duration
	for _, key := range keys {
		if f, ok := t.entries[key]; ok {
			wait = max(wait, f.until.Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, key := range keys {
		t.fail(key, now)
	}
	return 0
}

// Succeeded forgets the failures of keys.
func (t *Throttle) Succeeded(keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		delete(t.entries, key)
	}
}

// Undo takes one attempt under key back: it was no guess.
func (t *Throttle) Undo(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.entries[key]; ok && f.count > 0 {
		f.count--
		f.until = time.Time{}
	}
}

func (t *Throttle) fail(key string, now time.Time) {
	f, ok := t.entries[key]
	if !ok {
		t.makeRoom(now)
		f = &failures{}
		t.entries[key] = f
	}
	if now.Sub(f.last) > t.most {
		f.count = 0
	}
	f.count++
	f.last = now
	if over := f.count - t.free; over > 0 {
		f.until = now.Add(min(t.first<<min(over-1, 30), t.most))
	}
}

// makeRoom drops what is old, and if that is not enough, anything.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.entries) < mostEntries {
		return
	}
	for key, f := range t.entries {
		if now.Sub(f.last) > t.most {
			delete(t.entries, key)
		}
	}
	for key := range t.entries {
		if len(t.entries) < mostEntries {
			return
		}
		delete(t.entries, key)
	}
}

// Network is the part of an address that one party usually holds: the /24 of IPv4, the /64 of IPv6. Text that is no
// address stands for itself.
func Network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return address
	}
	return prefix.String()
}
