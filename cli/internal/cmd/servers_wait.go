package cmd

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// arrival follows a server from its token to its place in the cluster.
type arrival struct {
	r        *run
	conn     *client.Client
	replaces string                 // leaves before it is over
	expires  *timestamppb.Timestamp // of the token
	known    map[string]bool        // servers that were there before, by id

	shown string // what was said last
}

const lookEvery = 500 * time.Millisecond

// await looks until the new server has its place. An outage meanwhile is waited out.
func (a *arrival) await(ctx context.Context) error {
	for {
		res, err := a.conn.Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
		if err != nil && (ctx.Err() != nil || !rpc.Outage(err)) {
			return err
		}
		s := a.newcomer(res.GetServers())
		if s != nil {
			if err := a.show(s); err != nil || a.settled(s, res.GetServers()) {
				a.r.heard(res.GetServers())
				return err
			}
		} else if a.expires != nil && err == nil && a.r.env.Now().After(a.expires.AsTime()) {
			return failed("no server has joined and the token has expired").withFix("make another: gestor servers add")
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func (a *arrival) newcomer(servers []*gestorv1.Server) *gestorv1.Server {
	for _, s := range servers {
		if !a.known[s.GetId()] {
			return s
		}
	}
	return nil
}

func (a *arrival) show(s *gestorv1.Server) error {
	text := fmt.Sprintf("%s is %s", s.GetName(), word(s))
	if text == a.shown {
		return nil
	}
	a.shown = text
	if a.r.out.JSON {
		return a.r.out.Event(s)
	}
	a.r.out.Linef("%s", text)
	return nil
}

func word(s *gestorv1.Server) string {
	switch {
	case s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_VOTER:
		return "a voter"
	case s.GetRole() != gestorv1.ServerRole_SERVER_ROLE_STANDBY || !s.GetReachable():
		return output.Enum(s.GetRole(), "SERVER_ROLE_")
	case s.GetBehind() > 0:
		return fmt.Sprintf("a standby, %d changes behind", s.GetBehind())
	default:
		return "a standby that has caught up"
	}
}

// settled reports whether nothing more happens by itself: it votes and the one it replaces is gone, or it is the second of
// two and waits for a third.
func (a *arrival) settled(s *gestorv1.Server, all []*gestorv1.Server) bool {
	for _, other := range all {
		if a.replaces != "" && (other.GetName() == a.replaces || other.GetId() == a.replaces) {
			return false
		}
	}
	if s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_VOTER {
		return true
	}
	second := len(all) == 2 && s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_STANDBY
	return second && s.GetReachable() && s.GetBehind() == 0 && s.GetRevision() > 0
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
