package state

import "sync"

// Table names tables for Watch. Tables are bits, so a set of them is a Table too.
type Table uint32

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
	mu         sync.Mutex
	subscribed map[*Subscription]struct{} // guarded by mu
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
