package state

import (
	"sync"
	"sync/atomic"
)

// Table names tables for Watch. Tables are bits, so a set of them is a Table too.
type Table uint64

// The tables whose changes can be watched.
const (
	Cluster Table = 1 << iota
	Tenants
	Users
	Sessions
	JoinTokens
	Nodes
	Apps
	Env
	Builds
	Releases
	Deployments
	Tasks
	Audit
	Servers
	ServerTokens
	Tokens
	Events
	Invitations
	Factors   // second factors: passkeys, recovery codes
	Providers // where else people may sign in
	Channels
	Deliveries
	Protections
	Keys // that seal values, and the change from one to the next
)

// Subscription is signalled after commits. Signals are coalesced: one means "look again", not what changed.
type Subscription struct {
	// C holds at most one signal. It is never closed.
	C <-chan struct{}

	signal chan struct{}
	tables Table
	hub    *hub
}

// Close ends the subscription. Closing twice is harmless.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subscribed, s)
}

// hub knows who waits for what.
type hub struct {
	versions [64]atomic.Uint64 // by the bit of a table: how many commits touched it

	mu         sync.Mutex
	subscribed map[*Subscription]struct{} // guarded by mu
}

// version counts the commits that touched one of tables. What was read after a look at it is good for as long as a
// later look finds the same.
func (h *hub) version(tables []Table) uint64 {
	var all Table
	for _, t := range tables {
		all |= t
	}
	var sum uint64
	for i := range h.versions {
		if all&(1<<i) != 0 {
			sum += h.versions[i].Load()
		}
	}
	return sum
}

func (h *hub) subscribe(tables []Table) *Subscription {
	s := &Subscription{signal: make(chan struct{}, 1), hub: h}
	s.C = s.signal
	for _, t := range tables {
		s.tables |= t
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribed == nil {
		h.subscribed = map[*Subscription]struct{}{}
	}
	h.subscribed[s] = struct{}{}
	return s
}

func (h *hub) publish(touched Table) {
	for i := range h.versions {
		if touched&(1<<i) != 0 {
			h.versions[i].Add(1)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribed {
		if s.tables&touched == 0 {
			continue
		}
		select {
		case s.signal <- struct{}{}:
		default: // one is waiting already
		}
	}
}
