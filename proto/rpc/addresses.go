package rpc

import (
	"slices"
	"sync"
)

// Move says that calls go to another server from now on.
type Move struct {
	From, To string // addresses
	Answered bool   // From did answer, but cannot serve: it is stopping, or nobody leads
	Why      error  // what From failed with
}

// addresses are the servers of one installation and the one in use. It is safe for concurrent use.
type addresses struct {
	all []string

	mu      sync.Mutex
	current int   // in use
	settled int   // the one that answered last; the first before any did
	why     error // of the last departure
}

func newAddresses(o Options) *addresses {
	a := &addresses{}
	for _, address := range append([]string{o.Address}, o.Addresses...) {
		if address != "" && !slices.Contains(a.all, address) {
			a.all = append(a.all, address)
		}
	}
	if len(a.all) == 0 {
		a.all = []string{""}
	}
	return a
}

func (a *addresses) inUse() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[a.current]
}

// use makes address the one in use.
func (a *addresses) use(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = max(0, slices.Index(a.all, address))
}

// left moves on from an address that failed, unless another call has done so already.
func (a *addresses) left(address string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[a.current] == address {
		a.current = (a.current + 1) % len(a.all)
	}
	if a.all[a.settled] == address {
		a.why = why
	}
}

// answered notes that address serves, and tells if another one did before.
func (a *addresses) answered(address string) (Move, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := slices.Index(a.all, address)
	if now == a.settled || a.why == nil {
		return Move{}, false
	}
	m := Move{From: a.all[a.settled], To: address, Answered: saidByServer(a.why), Why: a.why}
	a.settled, a.why = now, nil
	return m, true
}

// from are the addresses in the order to try them: the one in use first.
func (a *addresses) from() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(slices.Clone(a.all[a.current:]), a.all[:a.current]...)
}
