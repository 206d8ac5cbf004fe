package stack

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Client is a signed-in client of the API at some servers, or at all without any named; o may say how reads are to be. The
// caller closes it.
func (s *Stack) Client(ctx context.Context, o rpc.Options, servers ...*Server) (*rpc.Client, error) {
	if s.token == "" {
		if err := s.signIn(ctx); err != nil {
			return nil, err
		}
	}
	return s.anonymous(o, func() string { return s.token }, servers...), nil
}

func (s *Stack) anonymous(o rpc.Options, token func() string, servers ...*Server) *rpc.Client {
	if len(servers) == 0 {
		servers = s.Servers
	}
	for _, server := range servers {
		o.Addresses = append(o.Addresses, server.Address)
	}
	o.Pin, o.Token, o.Version = s.pin, token, "test"
	return rpc.New(o)
}

// signIn makes the session that all clients share.
func (s *Stack) signIn(ctx context.Context) error {
	raw, err := os.ReadFile(filepath.Join(s.Servers[0].DataDir, "server-root.pin"))
	if err != nil {
		return err
	}
	if s.pin, err = hex.DecodeString(strings.TrimSpace(string(raw))); err != nil {
		return fmt.Errorf("read the servers' pin: %w", err)
	}
	password, err := s.password()
	if err != nil {
		return err
	}
	client := s.anonymous(rpc.Options{}, nil)
	defer client.Close()
	session, err := gestorv1connect.NewSessionServiceClient(client.HTTP, client.URL, client.Options()...).
		CreateSession(ctx, &gestorv1.CreateSessionRequest{Email: "admin@example.com", Password: password})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	s.token = session.GetToken()
	return nil
}

// ListServers asks some servers, or any of them all, for the servers.
func (s *Stack) ListServers(ctx context.Context, o rpc.Options, at ...*Server) ([]*gestorv1.Server, error) {
	client, err := s.Client(ctx, o, at...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := gestorv1connect.NewServerServiceClient(client.HTTP, client.URL, client.Options()...).
		ListServers(ctx, &gestorv1.ListServersRequest{})
	return answer.GetServers(), err
}

// Pin is the SHA-256 of the key of the servers' root; nil before the first Client.
func (s *Stack) Pin() []byte { return s.pin }
