package mirror

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/history"
)

// mark is how far the other servers are with one attempt's log, as far as they have said. Guarded by Mirror.mu.
type mark struct {
	acked   map[string]history.Position // by server
	changed chan struct{}               // closed and replaced with every change
	waiters int
	used    time.Time
}

// markOf returns a key's mark, which is made if need be. m.mu is held.
func (m *Mirror) markOf(k key) *mark {
	e := m.marks[k]
	if e == nil {
		e = &mark{acked: map[string]history.Position{}, changed: make(chan struct{})}
		m.marks[k] = e
	}
	e.used = time.Now()
	return e
}

// forget drops marks that nobody has used for a while.
func (m *Mirror) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.marks {
		if e.waiters == 0 && time.Since(e.used) > markIdle {
			delete(m.marks, k)
		}
	}
}

// confirm notes how far a server is.
func (m *Mirror) confirm(k key, server string, at history.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.markOf(k)
	e.acked[server] = at
	close(e.changed)
	e.changed = make(chan struct{})
}

// position is how far a server is, as far as is known.
func (m *Mirror) position(k key, server string) (history.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.marks[k]; e != nil {
		at, ok := e.acked[server]
		return at, ok
	}
	return history.Position{}, false
}

// stored reports whether enough servers have a log up to want, and what to wait for if not.
func (m *Mirror) stored(k key, want history.Position) (bool, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.markOf(k)
	t := tally{roster: m.roster}
	if t.roster.votes {
		t.have = 1
	}
	for server, at := range e.acked {
		if want.Reached(at) {
			t.add(server)
		}
	}
	return t.enough(), e.changed
}

// waiting keeps a key's mark as long as somebody waits for it.
func (m *Mirror) waiting(k key, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markOf(k).waiters += n
}

// askAgain is how often somebody who waits makes sure that the copies are under way.
const askAgain = time.Second

// await returns once enough servers have a log up to want, or with ctx.
func (m *Mirror) await(ctx context.Context, k key, want history.Position) error {
	m.waiting(k, 1)
	defer m.waiting(k, -1)
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ok, changed := m.stored(k, want)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
			m.urge(k, want)
		}
	}
}

// urge has a key brought up wherever it is not known to have reached want.
func (m *Mirror) urge(k key, want history.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.markOf(k)
	for server, l := range m.links {
		if !want.Reached(e.acked[server]) {
			l.behind(k)
		}
	}
}
