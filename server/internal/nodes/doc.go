// Package nodes is the servers' side of the agents: their sessions, what is pushed to them and what they report, and
// whether they live.
//
// It decides nothing about work. Which task goes where is dispatch's; what a deployment does next is deploy's. It brings
// leased tasks to the agents that hold the lease, with secrets resolved at that moment, and brings their reports into the
// state. Logs go to history, artifacts to blob, and neither touches Raft.
//
// Every server reports its sessions to the leader, at once when one begins or ends and once a second those that were
// heard. Only the leader commits what becomes of a node, and only it renews leases: it alone hears of all sessions.
//
// Guarantees. A node has at most one session; a newer one ends the older, at whichever server, and in whichever order the
// leader learns of them. Nothing is judged before this server knows all that the agent knows. Nothing is acknowledged to an
// agent before it is committed or known to be of no interest. Every buffer is bounded: an agent that does not read loses
// its session and gets everything again with the next. Heartbeats stay in memory; only changes of a node's status are
// committed. No host's clock plays a part: ages are durations, and a server that stood still excuses everybody.
package nodes
