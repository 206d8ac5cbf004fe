package rpc

import "sync/atomic"

// Revision remembers the highest revision a client has seen, so that its next read, on whichever server, is not older
// than its last write. The zero value has seen nothing. It is safe for concurrent use.
type Revision struct{ highest atomic.Uint64 }

// Get returns the highest revision seen.
func (r *Revision) Get() uint64 { return r.highest.Load() }

// Saw notes a revision.
func (r *Revision) Saw(revision uint64) {
	for {
		old := r.highest.Load()
		if revision <= old || r.highest.CompareAndSwap(old, revision) {
			return
		}
	}
}
