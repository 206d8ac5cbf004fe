package server

import (
	"fmt"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// sender is the installation's way to send e-mail, configured or not.
func (s *Server) sender() (mail.Sender, error) {
	o, err := s.options.Config.Mail.Options()
	if err != nil {
		return nil, err
	}
	m, err := mail.New(o)
	if err != nil {
		return nil, fmt.Errorf("set up e-mail: %w", err)
	}
	return m, nil
}

// people are the services of people, invitations and accounts.
func (s *Server) people(p *parts, passwords *auth.Passwords) []api.Mount {
	log := s.log.With("component", "api")
	links := api.Links{Vault: s.ring, PublicURL: s.publicURLs()[0]}
	errands := api.NewErrands(log)
	p.run = append(p.run, part{"errands", errands.Run})
	users := api.NewUserService(api.UserDeps{Engine: s.engine, Links: links, Mail: p.mail, Now: s.clock.Now})
	invitations := api.NewInvitationService(api.InvitationDeps{
		Engine: s.engine, Links: links, Mail: p.mail, Passwords: passwords, Guesses: auth.NewThrottle(auth.ThrottleOptions{Free: 10}),
		Barrier: s.engine.Barrier, Now: s.clock.Now, Log: log,
	})
	accounts := api.NewAccountService(api.AccountDeps{
		Engine: s.engine, Links: links, Mail: p.mail, Errands: errands, Passwords: passwords,
		Accounts: auth.NewThrottle(auth.ThrottleOptions{}), Networks: auth.NewThrottle(auth.ThrottleOptions{Free: 30}), Now: s.clock.Now, Log: log,
	})
	return []api.Mount{
		serve(gestorv1connect.NewUserServiceHandler)(users),
		serve(gestorv1connect.NewInvitationServiceHandler)(invitations),
		serve(gestorv1connect.NewAccountServiceHandler)(accounts),
	}
}
