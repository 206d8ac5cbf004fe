package cluster

// Nudge has the followers told at once that index is committed, for one of them that waits for it. Raft tells them with
// the next entry, or after 50 to 100 ms without one; an entry without meaning is much sooner, and shortening the wait
// for all would double what servers do at rest. It does nothing where another entry is about to go.
func (c *Cluster) Nudge(index uint64) {
	for {
		told := c.told.Load()
		if index <= told || c.busy() {
			return
		}
		if c.told.CompareAndSwap(told, index) {
			break
		}
	}
	c.raft.Barrier(0) // nobody waits for it
}

// busy reports whether another entry is on its way or about to be. The batcher holds a slot while it waits, and the
// entry that was committed last may still hold its own.
func (c *Cluster) busy() bool {
	const idle = 2
	return len(c.batcher.queue) > 0 || len(c.batcher.slots) > idle
}
