// Package clock is the time the control servers agree on, so that one server whose clock is wrong does no harm: it neither
// ends what is valid, nor deletes what is young, nor writes times that others wait for.
//
// The servers tell each other what their clocks say. The time of the cluster is the one in the middle, of an even number the
// earlier of the two in the middle; a server that knows no other has its own. How the others are asked is not this
// package's business, nor is waiting: what only measures how long something takes uses the monotonic clock.
//
// Guarantees: where more than half of the clocks that are known are right, so is Now, within the time a question takes, and
// whatever this server's own clock does in between. Now does not go back by less than a few seconds; it stands still
// meanwhile. What it returns has no monotonic reading, so that differences are those of the times that people see.
package clock

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	apart  = 2 * time.Second // between clocks, from which on a person should know
	wrong  = time.Minute     // between clocks, or between a clock and its own past, from which on nothing is deleted by age
	settle = time.Hour       // after a clock has jumped, until it is believed
	asleep = 24 * time.Hour  // that an installation may have been off without having its clock doubted
	stands = 5 * time.Second // that Now stands still for at most
	stale  = time.Hour       // after which what another server said does not count
)

// Clock is the time as one server sees it. It is safe for concurrent use.
type Clock struct {
	own   func() time.Time
	began time.Time // what monotonic time counts from

	mu      sync.Mutex
	others  map[string]heard // guarded by mu
	members int              // servers there are, this one too; guarded by mu
	last    time.Time        // what Now returned; guarded by mu
	seen    reading          // as of the last look; guarded by mu
	jumped  time.Time        // when a clock last jumped, monotonic; zero if none did; guarded by mu
}

// heard is what another server's clock said.
type heard struct {
	ahead time.Duration // of monotonic time here
	at    time.Time     // monotonic
}

// reading is how far clocks are ahead of monotonic time.
type reading struct{ own, agreed time.Duration }

// New makes a clock of a server that knows no other yet. own is what the clock of its machine says, time.Now if nil; before is a time at which
// the installation is known to have been running, zero for none.
func New(own func() time.Time, before time.Time) *Clock {
	if own == nil {
		own = time.Now
	}
	c := &Clock{own: own, began: time.Now(), others: map[string]heard{}, members: 1}
	if !before.IsZero() && own().Sub(before) > asleep {
		c.jumped = c.began
	}
	c.seen = c.read(0)
	return c
}

// Own is what the clock of this server's machine says.
func (c *Clock) Own() time.Time { return c.own().Round(0) }

// Now is the time of the cluster.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := time.Since(c.began)
	now := time.Unix(0, int64(c.look(passed).agreed+passed))
	if back := c.last.Sub(now); back > 0 && back < stands {
		return c.last
	}
	c.last = now
	return now
}

// Ahead is how far this server's clock is ahead of the cluster's time; negative if it is behind.
func (c *Clock) Ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.look(time.Since(c.began))
	return now.own - now.agreed
}

// Heard notes what another server's clock said to a question that was asked and answered at these times of time.Now.
func (c *Clock) Heard(server string, says, asked, answered time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	middle := asked.Add(answered.Sub(asked) / 2).Sub(c.began)
	c.others[server] = heard{ahead: time.Duration(says.UnixNano()) - middle, at: answered}
}

// Members tells which other servers there are; what any more said is forgotten.
func (c *Clock) Members(others []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = 1 + len(others)
	for id := range c.others {
		if !slices.Contains(others, id) {
			delete(c.others, id)
		}
	}
}

// Notice is what a person should know of this server's clock; empty while all is well.
func (c *Clock) Notice() string {
	switch ahead := c.Ahead(); {
	case ahead > apart:
		return fmt.Sprintf("its clock is %s ahead of the other servers': set it, and see that it is kept right (chrony, systemd-timesyncd)", rounded(ahead))
	case ahead < -apart:
		return fmt.Sprintf("its clock is %s behind the other servers': set it, and see that it is kept right (chrony, systemd-timesyncd)", rounded(-ahead))
	}
	return ""
}

// Doubt says why nothing should be deleted for its age now; empty if it may.
func (c *Clock) Doubt() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := time.Since(c.began)
	now := c.look(passed)
	if off := now.own - now.agreed; off.Abs() > wrong {
		return fmt.Sprintf("this server's clock and the other servers' differ by %s", rounded(off.Abs()))
	}
	agree := 0
	for _, one := range c.clocks(now.own) {
		if (one - now.agreed).Abs() <= wrong {
			agree++
		}
	}
	if agree <= c.members/2 {
		return fmt.Sprintf("the clocks of %d of %d servers are known to agree", agree, c.members)
	}
	if !c.jumped.IsZero() && time.Since(c.jumped) < settle {
		return fmt.Sprintf("a clock has jumped, or is days after what this server last wrote; it is believed after %s", settle)
	}
	return ""
}

// look reads the clocks and notes when one has jumped. c.mu is held.
func (c *Clock) look(passed time.Duration) reading {
	now := c.read(passed)
	if (now.own-c.seen.own).Abs() > wrong || (now.agreed-c.seen.agreed).Abs() > wrong {
		c.jumped = time.Now()
	}
	c.seen = now
	return now
}

func (c *Clock) read(passed time.Duration) reading {
	own := time.Duration(c.own().UnixNano()) - passed
	all := c.clocks(own)
	slices.Sort(all)
	return reading{own, all[(len(all)-1)/2]}
}

// clocks are how far all clocks that are known are ahead of monotonic time, given this server's own.
func (c *Clock) clocks(own time.Duration) []time.Duration {
	all := []time.Duration{own}
	for _, o := range c.others {
		if time.Since(o.at) < stale {
			all = append(all, o.ahead)
		}
	}
	return all
}

func rounded(d time.Duration) time.Duration {
	if d > time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}
