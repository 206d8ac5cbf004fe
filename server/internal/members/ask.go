package members

import (
	"context"
	"sync"
	"time"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// askFor bounds how long a server may take to say how it is.
const askFor = time.Second

// Statuses asks servers at the same time how they are. Those that do not answer within a second are absent.
func (s *Service) Statuses(ctx context.Context, ids []gestor.ServerID) map[gestor.ServerID]*peerv1.GetStatusResponse {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return each(ids, func(id gestor.ServerID) (*peerv1.GetStatusResponse, bool) {
		status, err := s.status(ctx, id)
		return status, err == nil
	})
}

// status asks one server how it is, and what its clock says.
func (s *Service) status(ctx context.Context, id gestor.ServerID) (*peerv1.GetStatusResponse, error) {
	if id == s.self() {
		return s.GetStatus(ctx, &peerv1.GetStatusRequest{})
	}
	c, err := clientOf(s.o.Port, string(id))
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	status, err := c.GetStatus(ctx, &peerv1.GetStatusRequest{})
	if answered := time.Now(); err == nil && status.GetClock() != nil {
		s.o.Clock.Heard(string(id), status.GetClock().AsTime(), asked, answered)
	}
	return status, err
}

// MarkedState is a server's state at a mark, or why it is not known.
type MarkedState struct {
	Hash   string
	Tables map[string]string
	Err    error
}

// MarkedStates asks servers at the same time for their states at the mark of a revision.
func (s *Service) MarkedStates(ctx context.Context, ids []gestor.ServerID, revision uint64) map[gestor.ServerID]MarkedState {
	return each(ids, func(id gestor.ServerID) (MarkedState, bool) {
		m, err := s.markOf(ctx, id, revision)
		return MarkedState{Hash: m.GetHash(), Tables: m.GetTables(), Err: err}, true
	})
}

func (s *Service) markOf(ctx context.Context, id gestor.ServerID, revision uint64) (*peerv1.GetMarkResponse, error) {
	req := &peerv1.GetMarkRequest{Revision: revision}
	if id == s.self() {
		return s.GetMark(peer.WithCaller(ctx, string(id)), req)
	}
	c, err := clientOf(s.o.Port, string(id))
	if err != nil {
		return nil, err
	}
	return c.GetMark(ctx, req)
}

// each asks for all ids at once and keeps the answers that came.
func each[T any](ids []gestor.ServerID, ask func(id gestor.ServerID) (T, bool)) map[gestor.ServerID]T {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := make(map[gestor.ServerID]T, len(ids))
	for _, id := range ids {
		wg.Go(func() {
			if a, ok := ask(id); ok {
				mu.Lock()
				defer mu.Unlock()
				out[id] = a
			}
		})
	}
	wg.Wait()
	return out
}
