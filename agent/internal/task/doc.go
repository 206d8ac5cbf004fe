// Package task runs the work a control server assigns to this host.
//
// A Manager takes assignments, writes them to the journal before anything happens, runs each by the Executor of its
// kind, one at a time per resource, and keeps the result until the server has acknowledged it. It neither talks to the
// network (package session does) nor knows what any kind of task means (the executors do).
//
// Guarantees: a task has an effect only after it is in the journal; a fence that is not above the last one seen for
// the resource has no effect; a task ends with exactly one result, also when the agent was killed while it ran; nothing
// of a task's secrets is written by this package. DESIGN.md has the protocol.
package task
