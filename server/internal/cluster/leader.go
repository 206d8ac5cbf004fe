package cluster

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// leaderless knows since when this server has known no leader.
type leaderless struct {
	since    atomic.Int64 // Unix nanoseconds; 0 while there is a leader
	news     chan raft.Observation
	observer *raft.Observer
}

// watch follows what Raft says of leaders until the function it returns is called.
func (l *leaderless) watch(r *raft.Raft) (stop func()) {
	l.since.Store(time.Now().UnixNano())
	l.news = make(chan raft.Observation, 16)
	done := make(chan struct{})
	isLeader := func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}
	l.observer = raft.NewObserver(l.news, true, isLeader)
	r.RegisterObserver(l.observer)
	go func() {
		defer close(done)
		for o := range l.news {
			if seen, ok := o.Data.(raft.LeaderObservation); ok {
				l.heard(string(seen.LeaderID))
			}
		}
	}()
	return func() {
		r.DeregisterObserver(l.observer)
		close(l.news)
		<-done
	}
}

func (l *leaderless) heard(leader string) {
	if leader != "" {
		l.since.Store(0)
		return
	}
	l.since.CompareAndSwap(0, time.Now().UnixNano())
}

// Leaderless is how long this server has known no leader; 0 while it knows one.
func (c *Cluster) Leaderless() time.Duration {
	if c.Leader() != "" {
		return 0
	}
	since := c.leaderless.since.Load()
	if since == 0 {
		return 0 // it has just gone; the news is on its way
	}
	return time.Since(time.Unix(0, since))
}
