package nodes

import (
	"context"
	"slices"

	"github.com/saas-gestor/gestor/server/internal/state"
)

// announce tells all sessions where the servers are, whenever that changes, by another hello: a session may last for weeks,
// and of the servers it was told of at its beginning none may be left.
func (s *Service) announce(ctx context.Context) error {
	news := s.engine.Watch(state.Servers)
	defer news.Close()
	told := s.servers.fresh(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-news.C:
		}
		now := s.servers.fresh(ctx)
		if slices.Equal(now, told) {
			continue
		}
		told = now
		hello := s.hello(ctx)
		for _, sess := range s.snapshot() {
			sess.offer(hello)
		}
	}
}
