// Package deploy moves deployments: it turns the state of builds and tasks into the next step, and it assembles the work
// that people ask for (builds, deployments, rollbacks, removals).
//
// It runs nothing and waits for nothing by itself: steps are tasks, which dispatch leases and agents carry out. DESIGN.md
// has the states.
//
// Guarantees. The loop is level-triggered: it reads, decides by a pure function, proposes one guarded change, and reads
// again, so running it twice, or on from where another leader stopped, does the same. No node is switched before all are
// prepared. Whatever fails after a first switch may have begun is reverted on every node where that may be, and the
// deployment does not end before that is done.
package deploy
