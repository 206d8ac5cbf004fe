package nodes

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Presence is what other servers may ask this one about agents; it is mounted on the peer port.
func (s *Service) Presence() peerv1connect.PresenceServiceHandler { return presenceService{s} }

type presenceService struct{ s *Service }

// ReportSessions implements the service.
func (p presenceService) ReportSessions(ctx context.Context, r *peerv1.ReportSessionsRequest) (*peerv1.ReportSessionsResponse, error) {
	if p.s.peers == nil || r.GetServerId() == "" || p.s.peers.Caller(ctx) != r.GetServerId() {
		return nil, fault.Denied("a server reports its own sessions only")
	}
	return p.s.take(r)
}

// GetLoads implements the service.
func (p presenceService) GetLoads(_ context.Context, r *peerv1.GetLoadsRequest) (*peerv1.GetLoadsResponse, error) {
	loads, leads := p.s.loadsHere(r.GetNodeIds())
	if !leads {
		return nil, notLeading()
	}
	return &peerv1.GetLoadsResponse{Loads: loads}, nil
}

// TailApp implements the service.
func (p presenceService) TailApp(ctx context.Context, r *peerv1.TailAppRequest, stream *connect.ServerStream[peerv1.TailAppResponse]) error {
	lines, err := p.s.openHere(ctx, gestor.NodeID(r.GetNodeId()), r.GetSlug(), int(r.GetLast()), r.GetFollow())
	if err != nil {
		return err
	}
	if err := stream.Send(&peerv1.TailAppResponse{}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case some, more := <-lines:
			if !more {
				return nil
			}
			if err := stream.Send(&peerv1.TailAppResponse{Lines: some}); err != nil {
				return err
			}
		}
	}
}

// loadsFor is how long a load of another server's node is good enough.
const (
	loadsFor     = time.Second
	loadsTimeout = time.Second
	loadsMost    = 20_000 // nodes, that are remembered
)

// sample is a load as the leader had it.
type sample struct {
	load *gestorv1.NodeLoad // nil: it has none
	at   time.Time
}

// Loads are the latest loads of nodes, wherever their sessions are; those without are absent. They are at most a few
// seconds old. Where the leader cannot be asked, only loads of this server's own nodes are told.
func (s *Service) Loads(ctx context.Context, ids []gestor.NodeID) map[gestor.NodeID]*gestorv1.NodeLoad {
	out := make(map[gestor.NodeID]*gestorv1.NodeLoad, len(ids))
	for id, load := range s.ask(ctx, s.remembered(ids, out)) {
		out[gestor.NodeID(id)] = load
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if sess := s.sessions[id]; sess != nil {
			if load := sess.latest(); load != nil {
				out[id] = load
			}
		}
	}
	return out
}

// remembered puts what is known into out and returns what must be asked.
func (s *Service) remembered(ids []gestor.NodeID, out map[gestor.NodeID]*gestorv1.NodeLoad) (ask []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		known, ok := s.samples[id]
		switch {
		case s.sessions[id] != nil:
		case !ok || time.Since(known.at) > loadsFor:
			ask = append(ask, string(id))
		case known.load != nil:
			out[id] = known.load
		}
	}
	return ask
}

// ask gets loads from the leader.
func (s *Service) ask(ctx context.Context, ids []string) map[string]*gestorv1.NodeLoad {
	if len(ids) == 0 {
		return nil
	}
	if loads, leads := s.loadsHere(ids); leads {
		return loads
	}
	leader := s.engine.Leader()
	if leader == "" || leader == s.engine.ID() || s.peers == nil {
		return nil
	}
	client, err := s.peers.Presence(leader)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadsTimeout)
	defer cancel()
	answer, err := client.GetLoads(ctx, &peerv1.GetLoadsRequest{NodeIds: ids})
	if err != nil {
		s.log.Debug("could not ask the leader for loads", "leader", leader, "err", err)
		return nil
	}
	s.remember(ids, answer.GetLoads())
	return answer.GetLoads()
}

func (s *Service) remember(ids []string, loads map[string]*gestorv1.NodeLoad) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.samples == nil || len(s.samples) > loadsMost {
		s.samples = map[gestor.NodeID]sample{}
	}
	for _, id := range ids {
		s.samples[gestor.NodeID(id)] = sample{loads[id], now}
	}
}

// latest is the load the agent told last.
func (sess *session) latest() *gestorv1.NodeLoad {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.load
}
