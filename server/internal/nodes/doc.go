// Package nodes is the servers' side of the agents: their sessions, what is pushed to them and what they report, and
// whether they live.
//
// It decides nothing about work. Which task goes where is dispatch's; what a deployment does next is deploy's. It brings
// leased tasks to the agents that hold the lease, with secrets resolved at that moment, and brings their reports into the
// state. Logs go to history, artifacts to blob, and neither touches Raft.
//
// Guarantees. A node has at most one session; a newer one ends the older. Nothing is acknowledged to an agent before it
// is committed or known to be of no interest. Every buffer is bounded: an agent that does not read loses its session and
// gets everything again with the next. Heartbeats stay in memory; only changes of a node's status are committed.
package nodes
