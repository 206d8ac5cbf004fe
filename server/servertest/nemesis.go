package servertest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Fault is something that happens to a cluster for a while.
type Fault struct {
	Name  string
	Begin func(c *Cluster, victim *Server)
	End   func(c *Cluster, victim *Server)
}

// The faults that Nemesis draws from. After all of them the cluster is whole again.
var (
	Kill = Fault{"kill", (*Cluster).Kill, (*Cluster).Start}
	Stop = Fault{"stop", (*Cluster).Stop, (*Cluster).Start}

	Isolation = Fault{"isolate", func(c *Cluster, v *Server) { c.Network.Isolate(v.Name) }, heal}
	Pause     = Fault{
		"pause", func(c *Cluster, v *Server) { c.Network.Pause(v.Name) },
		func(c *Cluster, v *Server) { c.Network.Resume(v.Name) },
	}
	Partition = Fault{"partition", func(c *Cluster, v *Server) {
		c.others(v, func(o *Server) { c.Network.Partition(v.Name, o.Name) })
	}, heal}
	Deaf = Fault{"deaf", func(c *Cluster, v *Server) {
		c.others(v, func(o *Server) { c.Network.Cut(o.Name, v.Name) })
	}, heal}
	Mute = Fault{"mute", func(c *Cluster, v *Server) {
		c.others(v, func(o *Server) { c.Network.Cut(v.Name, o.Name) })
	}, heal}
	Bridge   = Fault{"bridge", bridge, heal}
	Transfer = Fault{"transfer", transfer, func(*Cluster, *Server) {}}
)

// Faults are all of them.
func Faults() []Fault {
	return []Fault{Kill, Stop, Isolation, Pause, Partition, Deaf, Mute, Bridge, Transfer}
}

func heal(c *Cluster, _ *Server) { c.Network.Heal() }

func (c *Cluster) others(v *Server, do func(o *Server)) {
	for _, o := range c.Servers {
		if o != v {
			do(o)
		}
	}
}

// bridge cuts the others off from each other: only the victim reaches all.
func bridge(c *Cluster, v *Server) {
	c.others(v, func(a *Server) {
		c.others(v, func(b *Server) {
			if a != b {
				c.Network.Partition(a.Name, b.Name)
			}
		})
	})
}

func transfer(c *Cluster, v *Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := c.Client(v).Servers().TransferLeader(ctx, &gestorv1.TransferLeaderRequest{}); err != nil {
		c.t.Logf("transfer: %v", err) // nobody may lead just now
	}
}

// Nemesis does one random fault after another, half of them to the leader, until ctx ends. The seed decides which. At
// the end the cluster is whole.
func (c *Cluster) Nemesis(ctx context.Context, seed uint64, faults ...Fault) {
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // to be repeated
	for ctx.Err() == nil {
		victim := c.Servers[r.IntN(len(c.Servers))]
		if leader := c.Leader(); r.IntN(2) == 0 && leader != nil { //nolint:contextcheck // each server has its own time to answer
			victim = leader
		}
		f := faults[r.IntN(len(faults))]
		held, healed := 300+r.IntN(1200), 300+r.IntN(1200)
		c.t.Logf("%s %s for %d ms", f.Name, victim.Name, held)
		f.Begin(c, victim)
		rest(ctx, held)
		f.End(c, victim)
		rest(ctx, healed)
	}
}

func rest(ctx context.Context, ms int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(ms) * time.Millisecond):
	}
}

// Whole starts what does not run, heals the network and waits until all servers vote again.
func (c *Cluster) Whole() {
	c.t.Helper()
	c.Network.Heal()
	for _, s := range c.Servers {
		c.Network.Resume(s.Name)
		if !s.Running() {
			c.Start(s)
		}
	}
	c.WaitVoters(VotersOf(len(c.Servers)))
}

// TransferTo makes a server lead.
func (c *Cluster) TransferTo(s *Server) {
	c.t.Helper()
	c.Await(startLimit, s.Name+" to lead", func(ctx context.Context) error {
		if c.Leader() == s { //nolint:contextcheck // each server has its own time to answer
			return nil
		}
		_, err := c.Client(s).Servers().TransferLeader(ctx, &gestorv1.TransferLeaderRequest{Server: s.Name})
		if err == nil && c.Leader() != s { //nolint:contextcheck // each server has its own time to answer
			err = errors.New("it does not lead yet")
		}
		return err
	})
}

// Order sorts effects by their beginning.
func Order(effects []Effect) []Effect {
	slices.SortFunc(effects, func(a, b Effect) int { return a.Began.Compare(b.Began) })
	return effects
}
