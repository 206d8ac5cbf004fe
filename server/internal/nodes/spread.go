package nodes

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// How agents that must go are told to wait, so that they do not all come to the other servers at once.
const (
	arrivals  = 2000 // per second, at most, that one server's agents make together
	leastWait = 200 * time.Millisecond
	mostWait  = 20 * time.Second
)

// patience is how long one of so many agents should wait, of which it makes between half and one and a half.
func (s *Service) patience(agents int) time.Duration {
	window := min(max(time.Duration(agents)*time.Second/arrivals, leastWait), mostWait)
	return window/4 + rand.N(window*3/4) //nolint:gosec // jitter
}

// spread lets sessions go when this server has far more than its share, a few a second: the sooner there is more to even
// out, and never one with a task. They find another server by themselves.
func (s *Service) spread(total, servers int, now time.Time) {
	if servers < 2 || now.Sub(s.spreadAt) < s.times.Heartbeat/5 {
		return
	}
	s.spreadAt = now
	share := float64(total) / float64(servers)
	sessions := s.snapshot()
	excess := len(sessions) - int(share)
	if float64(len(sessions)) <= max(share*1.2, share+2) {
		return
	}
	free := slices.DeleteFunc(sessions, func(sess *session) bool { return sess.busy() })
	leaving := free[:min(len(free), excess, 5+excess/100)]
	for _, sess := range leaving {
		sess.end(goodbye{"another server has more room", leastWait})
	}
	if len(leaving) > 0 {
		s.log.Info("let agents go to servers with more room", "agents", len(leaving), "here", len(sessions), "share", int(share))
	}
}

// busy reports whether the node works on a task, or may have to.
func (sess *session) busy() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return !sess.recalled || len(sess.held) > 0 || len(sess.wanted) > 0
}

// farewell ends all sessions and refuses new ones. Those without tasks go first, spread over a second or two where there
// are many; it waits, a few seconds at most, until they have heard it.
func (s *Service) farewell() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	sessions := s.snapshot()
	slices.SortStableFunc(sessions, func(a, b *session) int { return order(a.busy(), b.busy()) })
	const atOnce = 100 // every 20 ms: 5,000 a second
	for batch := range slices.Chunk(sessions, atOnce) {
		for _, sess := range batch {
			sess.end(goodbye{"the server is stopping", s.patience(len(sessions))})
		}
		if len(sessions) > atOnce {
			<-time.After(breath)
		}
	}
	done := make(chan struct{})
	go func() { s.active.Wait(); close(done) }() // ends with the last connection, which the program closes next
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		s.log.Warn("some agents did not take the goodbye")
	}
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Agents is how many sessions this server holds.
func (s *Service) Agents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Connected reports whether a node holds a session on this server.
func (s *Service) Connected(id gestor.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sessions[id]
	return ok
}
