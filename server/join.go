package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// joinPatience is how long a fresh server tries to reach those it is to join.
const joinPatience = time.Minute

// join makes this host a server of the installation that the token is of. It does nothing on a server that has an
// identity already, so that the same command line starts it again later.
func (s *Server) join(ctx context.Context) error {
	c := s.options.Config
	if len(c.Join) == 0 || exists(filepath.Join(c.DataDir, identityFile)) {
		return nil
	}
	if exists(filepath.Join(c.DataDir, "raft")) {
		return fmt.Errorf("data directory %s holds another installation's data: choose an empty one to join with", c.DataDir)
	}
	token, err := pki.ParseJoinToken(strings.TrimSpace(s.options.JoinToken))
	if err != nil {
		return fmt.Errorf("GESTOR_JOIN_TOKEN: %w; `gestor servers add` makes one", err)
	}
	id, err := serverID(c.DataDir)
	if err != nil {
		return err
	}
	answer, err := s.enroll(ctx, token, id)
	if err != nil {
		return fmt.Errorf("join %s: %w", strings.Join(c.Join, ", "), err)
	}
	if err := keepIdentity(s.options.places(), id, token, answer); err != nil {
		return fmt.Errorf("join %s: %w", strings.Join(c.Join, ", "), err)
	}
	s.log.Info("joined", "cluster", answer.GetClusterId(), "server", id, "name", answer.GetName())
	return nil
}

// enroll shows the token to one of the servers, trying them in turn.
func (s *Server) enroll(ctx context.Context, token pki.JoinToken, id string) (*agentv1.EnrollServerResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	peer, err := s.peerAddress()
	if err != nil {
		return nil, err
	}
	req := &agentv1.EnrollServerRequest{
		TokenId: token.ID, TokenSecret: token.Secret, ServerId: id, Name: serverName(s.options.Config), PeerAddress: peer,
		Addresses: s.addresses(), Version: s.options.Version, Level: command.Level,
	}
	at := s.options.Config.Join
	for n, strangers := 0, 0; ; n++ {
		answer, err := enrollAt(ctx, at[n%len(at)], token, req)
		if _, stranger := errors.AsType[*rpc.PinError](err); stranger {
			strangers++ // waiting does not make another installation of it
		}
		if err == nil || !errors.Is(err, fault.KindUnavailable) || strangers >= len(at) {
			return answer, err
		}
		s.log.Warn("could not join yet", "err", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}

func enrollAt(ctx context.Context, at string, token pki.JoinToken, req *agentv1.EnrollServerRequest) (*agentv1.EnrollServerResponse, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	client := rpc.New(rpc.Options{Address: net.JoinHostPort(u.Hostname(), port), Pin: token.Pin, Version: req.GetVersion()})
	defer client.Close()
	return agentv1connect.NewEnrollmentServiceClient(client.HTTP, client.URL, client.Options()...).EnrollServer(ctx, req)
}

// keepIdentity writes what the new server was given, once it is known to fit together: the key ring first, so that an
// identity is never without it.
func keepIdentity(p secret.Places, id string, token pki.JoinToken, a *agentv1.EnrollServerResponse) error {
	dir := filepath.Dir(p.File)
	r, err := keepRing(p, a.GetKeyRing())
	if err != nil {
		return err
	}
	record := identityRecord{
		Cluster: a.GetClusterId(), Server: id, Name: a.GetName(), Joined: true, Incarnation: a.GetIncarnation(),
		ServerRoot: a.GetServerRoot(), ServerRootKey: a.GetServerRootKey(), AgentRoot: a.GetAgentRoot(), AgentRootKey: a.GetAgentRootKey(),
	}
	whole, err := record.open(r)
	if err != nil {
		return fmt.Errorf("the identity that was handed over: %w", err)
	}
	if !pki.SameHash(whole.serverRoot.Pin(), token.Pin) {
		return errors.New("the identity that was handed over is not the one the token names")
	}
	return record.write(dir)
}

// keepRing keeps the ring that was handed over in the file, unless this server was given its ring from elsewhere: then that
// must open what comes with it.
func keepRing(p secret.Places, ring []byte) (*secret.Ring, error) {
	given, err := secret.Places{Credentials: p.Credentials, Environment: p.Environment}.Load()
	if !errors.Is(err, os.ErrNotExist) {
		return given, err
	}
	if old, err := os.ReadFile(p.File); err == nil && !bytes.Equal(old, ring) {
		return nil, fmt.Errorf("%s is of another installation: choose an empty data directory", p.File)
	}
	if err := writeFile(p.File, string(ring)); err != nil {
		return nil, err
	}
	r, err := secret.Open(p.File)
	if err != nil {
		return nil, fmt.Errorf("the key ring that was handed over: %w", err)
	}
	return r, nil
}

// peerAddress is where the other servers reach this one.
func (s *Server) peerAddress() (string, error) {
	c := s.options.Config
	if c.PeerAddress != "" {
		return c.PeerAddress, nil
	}
	host, port, err := net.SplitHostPort(c.PeerListen)
	if err != nil || port == "0" {
		return "", errors.New("peer_listen: a server that joins others needs a fixed peer port: --peer-listen :8444")
	}
	if !isAny(host) {
		return c.PeerListen, nil
	}
	public, _, err := net.SplitHostPort(s.addresses()[0])
	if err != nil {
		public = hostname()
	}
	return net.JoinHostPort(public, port), nil
}

// handover is what a server that joins is given.
func (s *Server) handover() (*agentv1.EnrollServerResponse, error) {
	serverKey, agentKey, err := s.sealRoots()
	if err != nil {
		return nil, fmt.Errorf("seal the roots: %w", err)
	}
	c := s.id.cluster
	out := &agentv1.EnrollServerResponse{
		ClusterId: string(c.ID), KeyRing: s.ring.Encode(), ServerRoot: c.ServerRoot, ServerRootKey: serverKey,
		AgentRoot: c.AgentRoot, AgentRootKey: agentKey, Incarnation: s.id.incarnation,
	}
	for _, m := range s.engine.Members() {
		out.Peers = append(out.Peers, m.Address)
	}
	return out, nil
}
