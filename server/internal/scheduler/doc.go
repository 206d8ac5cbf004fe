// Package scheduler decides which waiting task goes to which node, and says of every other one why it waits.
//
// It is a pure function of a snapshot and a time: no I/O, no clock, no goroutine. It does not lease; dispatch does.
//
// Guarantees, for the leases of one Plan together with what the snapshot says is held: on a node, at most one task
// per resource; no node, app or tenant above its limits; no task before its time; and every queued task is either
// leased or explained.
package scheduler
