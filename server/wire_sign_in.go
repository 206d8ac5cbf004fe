package server

import (
	"time"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// wireSignIn makes what people sign in with.
func (s *Server) wireSignIn(p *parts) error {
	passkeys, err := auth.NewPasskeys(s.options.Config.PasskeyDomain, s.publicURLs())
	if err != nil {
		return err
	}
	log := s.log.With("component", "api")
	p.passwords = auth.NewPasswords(passwordsAtOnce)
	p.sessions = api.NewSessionService(api.SessionDeps{
		Engine: s.engine, Passwords: p.passwords, Passkeys: passkeys, Sealer: s.ring,
		Accounts: auth.NewThrottle(auth.ThrottleOptions{}), Networks: auth.NewThrottle(auth.ThrottleOptions{Free: 30}),
		Codes: auth.NewThrottle(auth.ThrottleOptions{First: 2 * time.Second, Most: time.Hour}), Attempts: p.attempts, Now: s.clock.Now, Log: log,
	})
	p.factors = api.NewFactorService(api.FactorDeps{Engine: s.engine, Passkeys: passkeys, Sealer: s.ring, Now: s.clock.Now})
	p.touches = api.NewTouches(s.engine, s.clock.Now, log)
	p.run = append(p.run, part{"touches", p.touches.Run})
	return nil
}

// signIn are the services of signing in.
func (p *parts) signIn() []api.Mount {
	return []api.Mount{
		serve(gestorv1connect.NewSessionServiceHandler)(p.sessions),
		serve(gestorv1connect.NewFactorServiceHandler)(p.factors),
	}
}
