package server

import (
	"github.com/saas-gestor/gestor/server/internal/oidc"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

// mostProviderAnswer bounds what a provider says at a time: its description, its keys, a token.
const mostProviderAnswer = 1 << 20

// wireProviders makes what signs people in through other places.
func (s *Server) wireProviders(p *parts) error {
	allow, err := s.options.Config.Outgoing.Networks()
	if err != nil {
		return err
	}
	own := &ownAddresses{hosts: s.hostsOfServers}
	away := outward.New(outward.Options{Allow: allow, Own: own.list})
	p.providers = oidc.New(oidc.Options{
		View: s.engine.View, Sealer: s.ring, HTTP: away.HTTP(mostProviderAnswer), Plain: away.PlainAllowed(), Admitter: p.sessions,
		PublicURL: s.publicURLs()[0], Now: s.clock.Now, Log: s.log.With("component", "oidc"),
	})
	return nil
}
