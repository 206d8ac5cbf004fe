package nodes

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// breath is the least time between two looks at what changed, so that many changes at once are one.
const breath = 20 * time.Millisecond

// RunTerm watches over all nodes while this server leads: it takes in what all servers report, renews leases, and commits
// what becomes of a node. Nodes that are recorded as connected get the time of Times.Lost to be heard of.
func (s *Service) RunTerm(ctx context.Context) error {
	nodes, err := s.engine.View(gestor.SystemScope()).AllNodes(ctx)
	if err != nil {
		return err
	}
	s.lead(newBoard(s.times, nodes, time.Now()))
	defer s.lead(nil)
	beating, stop := context.WithCancel(ctx)
	defer stop()
	go s.beat(beating) // ends with the term
	s.stir()
	tick := time.NewTicker(s.times.Heartbeat / 5)
	defer tick.Stop()
	for {
		s.settle(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.news:
			pause(ctx, breath)
		}
	}
}

// beat notices pauses of this process, also while a commit takes long.
func (s *Service) beat(ctx context.Context) {
	tick := time.NewTicker(s.times.Heartbeat / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.leading.Lock()
			if s.board != nil {
				s.resume(time.Now())
			}
			s.leading.Unlock()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// lead sets what the leader knows; nil ends it.
func (s *Service) lead(b *board) {
	s.leading.Lock()
	defer s.leading.Unlock()
	s.board = b
	s.pulse.Stop()
}

// resume excuses everybody when this server has not run for a while: it could hear nobody, and none of them is to blame.
// s.leading is held.
func (s *Service) resume(now time.Time) {
	stood := s.pulse.Beat(now)
	if stood == 0 {
		return
	}
	s.log.Warn("this server stood still; all nodes and leases get their time anew", "time", stood)
	s.board.excuse(now)
	s.leases.Excuse()
}

// settle commits, at once, every status that differs from the one the state has.
func (s *Service) settle(ctx context.Context) {
	s.leading.Lock()
	now := time.Now()
	s.resume(now)
	changes := s.board.changes(now)
	s.leading.Unlock()
	var g errgroup.Group
	g.SetLimit(128)
	for _, c := range changes {
		g.Go(func() error {
			s.commit(ctx, c)
			return nil
		})
	}
	_ = g.Wait()
}

// commit records one status. It is proposed here and nowhere else: a server that has lost its leadership without having
// noticed must not have an old status committed by the next leader.
func (s *Service) commit(ctx context.Context, c change) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	data, err := command.Marshal(command.Command{
		At: s.now(), Actor: gestor.SystemActor("nodes"),
		Op: command.SetNodeStatus{ID: c.node, Status: c.status, Facts: c.facts},
	})
	if err == nil {
		_, err = s.engine.ProposeHere(ctx, data)
	}
	s.leading.Lock()
	defer s.leading.Unlock()
	switch {
	case errors.Is(err, fault.KindNotFound):
		delete(s.board.nodes, c.node)
	case err == nil:
		s.board.committed(time.Now(), c)
	case ctx.Err() == nil:
		s.log.Warn("could not record a node's status", "node", c.node, "status", c.status, "err", err)
	}
}

// take is a report, to the leader. What it renews and answers is the board's to say.
func (s *Service) take(r *peerv1.ReportSessionsRequest) (*peerv1.ReportSessionsResponse, error) {
	now := time.Now()
	s.leading.Lock()
	if s.board == nil {
		s.leading.Unlock()
		return nil, notLeading()
	}
	v := s.board.report(now, r)
	total, servers := s.board.totals(now)
	s.leading.Unlock()
	for _, alive := range v.alive {
		if len(alive.GetTasks()) > 0 {
			s.leases.Renew(gestor.NodeID(alive.GetNodeId()), heldTasks(alive.GetTasks()), now.Add(-max(alive.GetAge().AsDuration(), 0)))
		}
	}
	notify(s.news)
	return &peerv1.ReportSessionsResponse{Resync: v.resync, Total: int32(total), Servers: int32(servers), Superseded: v.superseded}, nil
}

func notLeading() error {
	return fault.Unavailable("this server does not lead, or has just begun to").WithRetryAfter(time.Second)
}

// loadsHere are loads as the leader knows them; false where this server is not it.
func (s *Service) loadsHere(ids []string) (map[string]*gestorv1.NodeLoad, bool) {
	s.leading.Lock()
	defer s.leading.Unlock()
	if s.board == nil {
		return nil, false
	}
	return s.board.loads(ids), true
}

// notify signals a channel that holds one signal.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
