package nodes

import "time"

// Pulse notices that this process did not run for a while: that it was stopped, or its machine. Whoever judges others by
// their silence asks it first, and beats it besides from a goroutine that waits for nothing else, so that time in which only
// a commit took long does not count. Its users guard it by the lock they judge under.
type Pulse struct {
	Most time.Duration // between two beats, of a process that runs
	last time.Time
}

// Beat returns for how long this process stood still until now, 0 if it did not.
func (p *Pulse) Beat(now time.Time) time.Duration {
	since := now.Sub(p.last)
	first := p.last.IsZero()
	p.last = now
	if first || since < p.Most {
		return 0
	}
	return since
}

// Stop forgets the last beat: what comes until the next does not count.
func (p *Pulse) Stop() { p.last = time.Time{} }
