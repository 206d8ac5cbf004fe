package servertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// lookEvery is the time between looks at something that is waited for.
const lookEvery = 20 * time.Millisecond

// Await looks again and again until ok says so, and ends the test with what was still wrong after limit.
func (c *Cluster) Await(limit time.Duration, what string, ok func(ctx context.Context) error) {
	c.t.Helper()
	if err := Until(c.t.Context(), limit, ok); err != nil {
		c.t.Fatalf("waited %s in vain for %s: %v", limit, what, err)
	}
}

// Until looks again and again until ok returns nil. After limit it returns the last error.
func Until(ctx context.Context, limit time.Duration, ok func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last error
	for {
		look, done := context.WithTimeout(limited, 2*time.Second)
		err := ok(look)
		done()
		if err == nil {
			return nil
		}
		if last == nil || limited.Err() == nil {
			last = err // and not that the time was up
		}
		select {
		case <-limited.Done():
			return last
		case <-tick.C:
		}
	}
}

// Leader is the server that leads, as the servers that run see it; nil if they know none.
func (c *Cluster) Leader() *Server {
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		found := c.leaderBy(ctx, s)
		cancel()
		if found != nil {
			return found
		}
	}
	return nil
}

// leaderBy asks a server who leads.
func (c *Cluster) leaderBy(ctx context.Context, s *Server) *Server {
	res, err := c.Client(s).Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
	if err != nil {
		return nil
	}
	for _, other := range res.GetServers() {
		if other.GetLeader() {
			return c.byName(other.GetName())
		}
	}
	return nil
}

func (c *Cluster) byName(name string) *Server {
	for _, s := range c.Servers {
		if s.Name == name && s.Running() {
			return s
		}
	}
	return nil
}

// WaitLeader waits until there is a leader.
func (c *Cluster) WaitLeader() *Server {
	c.t.Helper()
	var leader *Server
	c.Await(startLimit, "a leader", func(context.Context) error {
		if leader = c.Leader(); leader == nil { //nolint:contextcheck // each server has its own time to answer
			return errors.New("nobody leads")
		}
		return nil
	})
	return leader
}

// Follower is a running server that does not lead.
func (c *Cluster) Follower() *Server {
	c.t.Helper()
	leader := c.WaitLeader()
	for _, s := range c.Servers {
		if s != leader && s.Running() {
			return s
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// WaitVoters waits until n servers vote.
func (c *Cluster) WaitVoters(n int) {
	c.t.Helper()
	c.Await(startLimit, fmt.Sprint(n, " voters"), func(ctx context.Context) error {
		res, err := c.Any().Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
		if err != nil {
			return err
		}
		voters := 0
		for _, s := range res.GetServers() {
			if s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_VOTER {
				voters++
			}
		}
		if voters != n {
			return fmt.Errorf("%d vote: %v", voters, res.GetServers())
		}
		return nil
	})
}

// Check fails the test unless all servers have the same state.
func (c *Cluster) Check() {
	c.t.Helper()
	c.Await(startLimit, "equal states", func(ctx context.Context) error {
		res, err := c.Any().Servers().CheckServers(ctx, &gestorv1.CheckServersRequest{})
		if err != nil {
			return err
		}
		for _, s := range res.GetServers() {
			if len(s.GetDifferingTables()) > 0 {
				c.t.Fatalf("the states differ at revision %d: %v", res.GetRevision(), res.GetServers())
			}
		}
		if !res.GetEqual() {
			return fmt.Errorf("at revision %d: %v", res.GetRevision(), res.GetServers())
		}
		return nil
	})
}
