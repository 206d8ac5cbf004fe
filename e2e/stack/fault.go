package stack

import (
	"context"
	"syscall"

	"github.com/saas-gestor/gestor/e2e/stack/lab"
)

// Pause stops a server in its tracks, as a host that is starved of its processor does.
func (s *Server) Pause() error { return s.Signal(syscall.SIGSTOP) }

// Resume lets a server go on that was paused.
func (s *Server) Resume() error { return s.Signal(syscall.SIGCONT) }

// CutOneWay drops what one server sends another.
func (s *Stack) CutOneWay(ctx context.Context, from, to *Server) error {
	return s.Network.Cut(ctx, from.Host, to.Host)
}

// CutBoth drops everything between two servers.
func (s *Stack) CutBoth(ctx context.Context, a, b *Server) error {
	return s.Network.CutBoth(ctx, a.Host, b.Host)
}

// Isolate drops everything between a server and the other servers. Agents and people still reach it.
func (s *Stack) Isolate(ctx context.Context, server *Server) error {
	return s.Network.Isolate(ctx, server.Host)
}

// CutAgents drops everything between a server and the agents, and the gestor command.
func (s *Stack) CutAgents(ctx context.Context, server *Server) error {
	return s.Network.CutBoth(ctx, lab.Here, server.Host)
}

// Heal undoes all cuts.
func (s *Stack) Heal(ctx context.Context) error { return s.Network.Heal(ctx) }
