package cluster

import "testing"

func TestLeaderless_CountsFromTheLossOfTheLastLeader(t *testing.T) {
	c := grown(t)
	alone := c.servers[2]
	until(t, "it knows the leader", func() bool { return alone.Leaderless() == 0 })
	alone.transport.DisconnectAll()
	for _, s := range c.servers[:2] {
		s.transport.Disconnect(alone.transport.LocalAddr())
	}
	until(t, "it counts", func() bool { return alone.Leaderless() > 0 })
	for _, s := range c.servers[:2] {
		s.transport.Connect(alone.transport.LocalAddr(), alone.transport)
		alone.transport.Connect(s.transport.LocalAddr(), s.transport)
	}
	until(t, "it has a leader again", func() bool { return alone.Leaderless() == 0 })
}
