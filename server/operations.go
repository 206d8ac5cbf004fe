package server

import (
	"cmp"

	"github.com/saas-gestor/gestor/server/internal/admit"
	"github.com/saas-gestor/gestor/server/internal/api"
)

// admission is who is let in at the public port.
func (s *Server) admission() admit.Options {
	const unlimited = -1
	l := s.options.Config.Limits
	return admit.Options{
		TLS: s.parts.tls, Most: cmp.Or(l.Connections, unlimited), PerNetwork: cmp.Or(l.ConnectionsPerSource, unlimited),
		Log: s.log.With("component", "http"),
	}
}

// limits are how much callers may ask of this server.
func (s *Server) limits() *api.Limits {
	l := s.options.Config.Limits
	return api.NewLimits(api.LimitsOptions{
		AddressReads: l.AddressReads, AddressWrites: l.AddressWrites, TenantReads: l.TenantReads, TenantWrites: l.TenantWrites,
		NodeCalls: l.NodeCalls, CallsAtOnce: l.CallsAtOnce, StreamsPerSession: l.StreamsPerSession, StreamsPerNode: l.StreamsPerNode,
	})
}
