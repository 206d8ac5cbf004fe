package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// EnrollmentDeps are what the enrolment service needs; all of it.
type EnrollmentDeps struct {
	Engine     Engine
	AgentRoot  *pki.Root // signs agents
	ServerRoot *pki.Root // told to agents
	Cluster    gestor.ClusterID
	Servers    func(ctx context.Context) ([]string, error)   // where agents reach the servers, host:port
	Handover   func() (*agentv1.EnrollServerResponse, error) // what a new control server is given, but for its name
	Barrier    func(ctx context.Context) error               // returns once this server has all that was committed before; nil with one server only
	Guesses    *auth.Throttle                                // by network
	Now        func() time.Time
	Log        *slog.Logger
}

// EnrollmentService turns join tokens into nodes and renews their certificates.
type EnrollmentService struct{ deps EnrollmentDeps }

var _ agentv1connect.EnrollmentServiceHandler = (*EnrollmentService)(nil)

// NewEnrollmentService makes the service.
func NewEnrollmentService(d EnrollmentDeps) *EnrollmentService { return &EnrollmentService{deps: d} }

// Enroll signs a host's key against a join token. The token is consumed by one replicated command, so it makes one node
// however many servers are asked at once.
func (s *EnrollmentService) Enroll(ctx context.Context, req *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error) {
	signing, err := pki.ParseRequest(req.GetCsr())
	if err != nil {
		return nil, fault.Invalid("csr", "%v", err)
	}
	network := auth.Network(requestOf(ctx).address)
	if wait := s.deps.Guesses.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	token, err := s.consume(ctx, req, signing.SPKI)
	if err != nil {
		s.deps.Log.Warn("enrolment refused", "address", requestOf(ctx).address, "token", req.GetTokenId(), "err", err)
		return nil, err
	}
	s.deps.Guesses.Succeeded(network)
	node, err := s.deps.Engine.View(gestor.SystemScope()).Node(ctx, token.NodeID)
	if err != nil {
		return nil, err
	}
	s.deps.Log.Info("node enrolled", "node", node.ID, "name", node.Name, "address", requestOf(ctx).address)
	identity, err := s.identity(ctx, node, signing)
	return &agentv1.EnrollResponse{Identity: identity}, err
}

// consume uses a token for a key. Whether it may is decided by the state machine, which also writes refusals to the audit
// log; here only strangers are refused, who have no token or not its secret: they must not make the cluster write.
func (s *EnrollmentService) consume(ctx context.Context, req *agentv1.EnrollRequest, spki []byte) (gestor.JoinToken, error) {
	token, err := fresh(ctx, s.deps.Barrier, req.GetTokenId(), s.deps.Engine.View(gestor.SystemScope()).JoinToken)
	if errors.Is(err, fault.KindNotFound) {
		return token, badToken()
	}
	if err != nil {
		return token, err
	}
	secret := pki.HashSecret(req.GetTokenSecret())
	if !pki.SameHash(token.SecretHash, secret) {
		return token, badToken()
	}
	facts, err := packFacts(req.GetFacts())
	if err != nil {
		return token, err
	}
	caller, _ := auth.CallerFrom(ctx)
	by := caller.Actor
	by.Kind, by.ID, by.Name = "agent", string(token.NodeID), token.NodeName
	op := command.EnrollNode{TokenID: token.ID, SecretHash: secret, SPKI: spki, Facts: facts}
	return token, s.propose(ctx, command.Command{At: s.deps.Now(), Actor: by, Op: op})
}

// enrollPatience bounds the wait for what other servers have taken.
const enrollPatience = 5 * time.Second

// fresh reads a token that may have been made on another server a moment ago: one that is not here is looked for again once
// this server has caught up. The throttle that comes first keeps strangers from asking for that often.
func fresh[T any](ctx context.Context, barrier func(context.Context) error, id string, read func(context.Context, string) (T, error)) (T, error) {
	token, err := read(ctx, id)
	if barrier == nil || !errors.Is(err, fault.KindNotFound) {
		return token, err
	}
	waiting, cancel := context.WithTimeout(ctx, enrollPatience)
	defer cancel()
	if err := barrier(waiting); err != nil {
		return token, err
	}
	return read(ctx, id)
}

// badToken is one answer for a token that does not exist and for a wrong secret, so that it tells nothing.
func badToken() error {
	return fault.Unauthenticated("the join token is not valid").WithFix("make a new one: gestor nodes join-command <name>")
}

// mostFacts bounds what is stored of a host, in bytes.
const mostFacts = 64 << 10

func packFacts(f *gestorv1.NodeFacts) ([]byte, error) {
	facts, err := proto.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("pack facts: %w", err)
	}
	if len(facts) > mostFacts {
		return nil, fault.Invalid("facts", "they have %d bytes, the most is %d", len(facts), mostFacts)
	}
	return facts, nil
}

// Renew signs the key of a known node again. The request's id is made of the signing request, so that an agent whose
// answer was lost gets it again by sending the very same request, while a clone of its disk does not.
func (s *EnrollmentService) Renew(ctx context.Context, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	caller, _ := auth.CallerFrom(ctx)
	signing, err := pki.ParseRequest(req.GetCsr())
	if err != nil {
		return nil, fault.Invalid("csr", "%v", err)
	}
	if !pki.SameHash(signing.SPKI, caller.Node.SPKI) {
		return nil, fault.Denied("the request is for another key than the node's").WithFix("enroll the host again to change its key")
	}
	node, err := s.renew(ctx, caller, req)
	if err != nil {
		s.deps.Log.Warn("renewal refused", "node", caller.Node.ID, "generation", req.GetGeneration(), "address", requestOf(ctx).address, "err", err)
		return nil, err
	}
	identity, err := s.identity(ctx, node, signing)
	return &agentv1.RenewResponse{Identity: identity}, err
}

func (s *EnrollmentService) renew(ctx context.Context, caller auth.Caller, req *agentv1.RenewRequest) (gestor.Node, error) {
	brake := "renew " + requestOf(ctx).address
	stale := req.GetGeneration() != caller.Node.Generation
	if stale { // a clone, which the audit log notes, but not as often as it asks; or an answer was lost
		if wait := s.deps.Guesses.Take(brake); wait > 0 {
			return gestor.Node{}, tooMany(wait)
		}
	}
	id := fmt.Sprintf("renew/%s/%d/%x", caller.Node.ID, req.GetGeneration(), sha256.Sum256(req.GetCsr()))
	op := command.RenewNode{ID: caller.Node.ID, Generation: req.GetGeneration()}
	if err := s.propose(ctx, command.Command{RequestID: id, At: s.deps.Now(), Actor: caller.Actor, Op: op}); err != nil {
		return gestor.Node{}, err
	}
	node, err := s.deps.Engine.View(gestor.SystemScope()).Node(ctx, caller.Node.ID)
	if err != nil {
		return gestor.Node{}, err
	}
	if node.Generation != req.GetGeneration()+1 {
		return gestor.Node{}, fault.Conflict("this certificate was renewed again since, by this host or a clone of its disk")
	}
	if stale {
		s.deps.Guesses.Undo(brake)
	}
	return node, nil
}

func (s *EnrollmentService) propose(ctx context.Context, c command.Command) error {
	receipt, err := s.deps.Engine.Propose(ctx, c)
	if err != nil {
		return err
	}
	return s.deps.Engine.Wait(ctx, receipt.Revision)
}

func (s *EnrollmentService) identity(ctx context.Context, node gestor.Node, signing pki.Request) (*agentv1.Identity, error) {
	servers, err := s.deps.Servers(ctx)
	if err != nil {
		return nil, err
	}
	der, notAfter, err := s.deps.AgentRoot.SignAgent(string(s.deps.Cluster), string(node.ID), signing, s.deps.Now())
	if err != nil {
		return nil, err
	}
	return &agentv1.Identity{
		NodeId:      string(node.ID),
		NodeName:    node.Name,
		ClusterId:   string(s.deps.Cluster),
		Certificate: der,
		ServerRoots: [][]byte{s.deps.ServerRoot.Certificate.Raw},
		Servers:     servers,
		NotAfter:    timestamppb.New(notAfter),
		Generation:  node.Generation,
	}, nil
}
