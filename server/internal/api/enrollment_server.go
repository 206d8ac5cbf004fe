package api

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// EnrollServer makes a host a control server: it writes it into the state and hands over the keys. The token is consumed by
// one replicated command, so it makes one server however many are asked at once.
func (s *EnrollmentService) EnrollServer(ctx context.Context, req *agentv1.EnrollServerRequest) (*agentv1.EnrollServerResponse, error) {
	joining, err := serverIn(req)
	if err != nil {
		return nil, err
	}
	network := auth.Network(requestOf(ctx).address)
	if wait := s.deps.Guesses.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	if err := s.admit(ctx, req, joining); err != nil {
		s.deps.Log.Warn("enrolment of a server refused", "address", requestOf(ctx).address, "token", req.GetTokenId(), "err", err)
		return nil, err
	}
	s.deps.Guesses.Succeeded(network)
	known, err := s.deps.Engine.View(gestor.SystemScope()).Server(ctx, joining.ID)
	if err != nil {
		return nil, err
	}
	answer, err := s.deps.Handover()
	if err != nil {
		return nil, err
	}
	s.deps.Log.Warn("a control server was enrolled and has all keys", "server", known.ID, "name", known.Name, "address", requestOf(ctx).address)
	answer.Name = known.Name
	return answer, nil
}

// serverIn converts what a new server says of itself.
func serverIn(req *agentv1.EnrollServerRequest) (gestor.Server, error) {
	s := gestor.Server{
		ID: gestor.ServerID(req.GetServerId()), Name: req.GetName(), PeerAddress: req.GetPeerAddress(), Addresses: req.GetAddresses(),
		Version: req.GetVersion(), Level: req.GetLevel(),
	}
	if s.Name == "" {
		s.Name = "server"
	}
	if err := gestor.CheckServerID("server_id", s.ID); err != nil {
		return gestor.Server{}, err
	}
	return s, s.Validate("")
}

// admit uses a token for a server. Whether it may is decided by the state machine; strangers are refused before it, so that
// they cannot make the cluster write.
func (s *EnrollmentService) admit(ctx context.Context, req *agentv1.EnrollServerRequest, joining gestor.Server) error {
	token, err := fresh(ctx, s.deps.Barrier, req.GetTokenId(), s.deps.Engine.View(gestor.SystemScope()).ServerToken)
	if errors.Is(err, fault.KindNotFound) {
		return badServerToken()
	}
	if err != nil {
		return err
	}
	secret := pki.HashSecret(req.GetTokenSecret())
	if !pki.SameHash(token.SecretHash, secret) {
		return badServerToken()
	}
	caller, _ := auth.CallerFrom(ctx)
	by := caller.Actor
	by.Kind, by.ID, by.Name = "server", string(joining.ID), joining.Name
	op := command.EnrollServer{TokenID: token.ID, SecretHash: secret, Server: joining}
	return s.propose(ctx, command.Command{At: s.deps.Now(), Actor: by, Op: op})
}

// badServerToken is one answer for a token that does not exist and for a wrong secret, so that it tells nothing.
func badServerToken() error {
	return fault.Unauthenticated("the server token is not valid").WithFix("make a new one: gestor servers add")
}
