package servertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Time is what the clock of the server's machine says. That of a new server is right.
func (s *Server) Time() time.Time { return time.Now().Round(0).Add(time.Duration(s.clock.Load())) }

// Jump sets the clock of the server's machine forward, or back. It may be called while the server runs, and while it does not.
func (s *Server) Jump(d time.Duration) { s.clock.Add(int64(d)) }

// WaitClocks has every server that runs ask the others for the time, and waits until it knows how far its own clock is off.
func (c *Cluster) WaitClocks() {
	c.t.Helper()
	for _, s := range c.Servers {
		if s.Running() {
			c.Await(startLimit, s.Name+" to compare its clock", func(ctx context.Context) error {
				_, err := c.Client(s).Servers().ListServers(ctx, &gestorv1.ListServersRequest{}) // it asks all how they are
				return err
			})
		}
	}
	c.Await(startLimit, "the clocks to be compared", func(ctx context.Context) error {
		res, err := c.Any().Servers().CheckServers(ctx, &gestorv1.CheckServersRequest{})
		if err != nil {
			return err
		}
		for _, check := range res.GetServers() {
			s := c.byName(check.GetName())
			if s == nil {
				continue
			}
			if check.GetClockAhead() == nil {
				return errors.New(s.Name + " does not say what its clock does")
			}
			off := time.Duration(s.clock.Load()) - check.GetClockAhead().AsDuration()
			if off.Abs() > time.Second {
				return fmt.Errorf("%s takes its clock to be %s ahead, %s too little", s.Name, check.GetClockAhead().AsDuration(), off)
			}
		}
		return nil
	})
}
