package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// gate decides at a request's headers, before any of its message is read, whether it may go on, and as whom.
type gate struct {
	deps   Deps
	policy Policy
	known  *known
}

func (g *gate) enter(ctx context.Context, spec connect.Spec, _ connect.Peer, header http.Header) (context.Context, error) {
	requestOf(ctx).stream = spec.StreamType != connect.StreamTypeUnary
	caller, err := g.admit(ctx, spec, header)
	if err != nil {
		ce, whole := rpc.Encode(nothingDone(err), referenceOf(ctx))
		if !whole {
			g.report(ctx, spec.Procedure, err)
		}
		note(ctx, ce.Code().String())
		return nil, ce
	}
	if spec.StreamType == connect.StreamTypeUnary {
		requestOf(ctx).hurry(g.deps.Times.Body)
		requestOf(ctx).charge(g.deps.Limits.bodies, partyOf(caller, requestOf(ctx).address))
	}
	return auth.WithCaller(ctx, caller), nil
}

// nothingDone tells clients that a request refused here may be sent again, to any server.
func nothingDone(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.KindUnavailable && f.Kind != fault.KindExhausted {
		return err
	}
	told := *f // the original may be shared
	return told.WithNothingDone()
}

// admit says who makes a call, or why they may not.
func (g *gate) admit(ctx context.Context, spec connect.Spec, header http.Header) (auth.Caller, error) {
	access, ok := g.policy[spec.Procedure]
	if !ok {
		return auth.Caller{}, fault.Denied("%s has no policy", spec.Procedure)
	}
	want, err := wanted(header)
	if err != nil {
		return auth.Caller{}, err
	}
	if err := g.modest(ctx, spec); err != nil {
		return auth.Caller{}, err
	}
	if err := g.claimed(ctx, spec.Procedure, want); err != nil {
		return auth.Caller{}, err
	}
	seen := g.deps.Revision()
	caller, err := g.recognise(ctx, spec, func() (auth.Caller, error) { return g.identity(ctx, header, want) })
	if err != nil {
		return auth.Caller{}, err
	}
	if wait, reason := g.deps.Limits.fromCaller(caller, spec); wait > 0 {
		return auth.Caller{}, g.refuse(reason, tooOften(whose[caller.Kind], wait))
	}
	if err := g.refresh(ctx, caller, spec, want); err != nil {
		return auth.Caller{}, err
	}
	if caller.Kind != auth.Anonymous && g.deps.Revision() != seen { // what has arrived may have ended a sign-in, or a role
		caller, err = g.recognise(ctx, spec, func() (auth.Caller, error) { return g.authenticate(ctx, header) })
	}
	caller.Actor = actor(caller, requestOf(ctx), access.GetAudit())
	return caller, err
}

// recognise says who makes a call, as far as this server knows, if they may make it.
func (g *gate) recognise(ctx context.Context, spec connect.Spec, who func() (auth.Caller, error)) (auth.Caller, error) {
	permission := g.policy[spec.Procedure].GetPermission()
	caller, why := who()
	public := permission == gestorv1.Permission_PERMISSION_PUBLIC
	if why != nil && (!public || fault.KindOf(why) == fault.KindInternal) { // an old token must not keep people from signing in
		return auth.Caller{}, why
	}
	identify(ctx, caller)
	return caller, allowed(caller, spec.Procedure, permission)
}

var whose = map[auth.Kind]string{auth.User: "tenant", auth.Agent: "node"}

// modest refuses, before anything is looked up, an address that asks too often and a message that is too large.
func (g *gate) modest(ctx context.Context, spec connect.Spec) error {
	r := requestOf(ctx)
	if len(r.peer) == 0 {
		if wait := g.deps.Limits.fromAddress(r.address, spec); wait > 0 {
			return g.refuse(refusedAddress, tooOften("address", wait))
		}
	}
	if spec.StreamType != connect.StreamTypeUnary {
		return nil
	}
	r.mostBody = int64(g.policy.mostBytes(spec)) + envelope
	if r.declared > r.mostBody {
		return g.refuse(refusedSize, fault.Exhausted("the message has %d bytes, the most is %d", r.declared, g.policy.mostBytes(spec)))
	}
	return nil
}

// refuse counts a refusal for monitoring and returns it.
func (g *gate) refuse(reason string, err error) error {
	g.deps.Refused(reason)
	return err
}

// identity proves who calls; somebody who may only not have arrived here yet is looked for again.
func (g *gate) identity(ctx context.Context, header http.Header, want freshness) (auth.Caller, error) {
	seen := g.deps.Revision()
	caller, err := g.authenticate(ctx, header)
	if !errors.Is(err, errUnknown) {
		return caller, err
	}
	if err := g.doubt(ctx, want, seen, err); err != nil {
		return auth.Caller{}, err
	}
	return g.authenticate(ctx, header)
}

// claimed refuses everything but setup and enrolment while the installation belongs to nobody.
func (g *gate) claimed(ctx context.Context, procedure string, want freshness) error {
	switch procedure {
	case gestorv1connect.SetupServiceGetSetupProcedure, gestorv1connect.SetupServiceClaimProcedure,
		agentv1connect.EnrollmentServiceEnrollProcedure, agentv1connect.EnrollmentServiceRenewProcedure:
		return g.joined(ctx)
	}
	seen := g.deps.Revision()
	refusal := g.belongs(ctx)
	if !errors.Is(refusal, errUnknown) {
		return refusal
	}
	if err := g.doubt(ctx, want, seen, refusal); err != nil {
		return err
	}
	return g.belongs(ctx)
}

// belongs refuses while the installation belongs to nobody, as far as this server knows.
func (g *gate) belongs(ctx context.Context) error {
	cluster, err := g.cluster(ctx)
	if err != nil {
		return err
	}
	if !cluster.Claimed {
		return fault.Conflict("nobody has claimed this installation yet").
			WithFix("run the `gestor setup` command that the server printed").WithCause(errUnknown)
	}
	return nil
}

func (g *gate) joined(ctx context.Context) error {
	_, err := g.cluster(ctx)
	return err
}

// cluster is the installation; a server that is still joining one has none.
func (g *gate) cluster(ctx context.Context) (gestor.Cluster, error) {
	cluster, err := g.known.installation(ctx, g.deps.Engine.View(gestor.SystemScope()).Cluster)
	if errors.Is(err, fault.KindNotFound) {
		return cluster, fault.Unavailable("this server is joining and has not got the cluster's state yet").
			WithFix("try again in a moment, or ask another server").WithRetryAfter(time.Second)
	}
	return cluster, err
}

func allowed(c auth.Caller, procedure string, p gestorv1.Permission) error {
	switch {
	case c.RenewOnly && procedure != agentv1connect.EnrollmentServiceRenewProcedure && p != gestorv1.Permission_PERMISSION_PUBLIC:
		return fault.Unauthenticated("the certificate of node %s has ended", c.Node.Name).WithFix("renew it first")
	case c.May(p):
		return nil
	case c.Kind == auth.Anonymous:
		return fault.Unauthenticated("nobody is signed in").WithFix("sign in with `gestor login`")
	case c.Kind == auth.Agent:
		return fault.Denied("a node may not do this")
	case p == gestorv1.Permission_PERMISSION_AGENT:
		return fault.Denied("only a node may do this")
	}
	return fault.Denied("the role %s may not do this", c.User.Role).WithFix("ask an admin of your tenant")
}

// authenticate proves who calls: a client certificate makes an agent, whatever else was sent; a bearer token a user.
func (g *gate) authenticate(ctx context.Context, header http.Header) (auth.Caller, error) {
	if r := requestOf(ctx); len(r.peer) > 0 {
		return g.agent(ctx, r)
	}
	token := auth.BearerFrom(header.Get("Authorization"))
	if token == "" {
		return auth.Caller{}, nil
	}
	return g.user(ctx, token)
}

// agent looks the node up at every request, so that a deleted node is out at once. The certificate is verified again
// because a connection may outlive it.
func (g *gate) agent(ctx context.Context, r *request) (auth.Caller, error) {
	proven, err := g.deps.Agents.Verify(r.peer)
	if err != nil {
		return auth.Caller{}, fault.Unauthenticated("the client certificate is not accepted").WithCause(err)
	}
	node, err := g.deps.Engine.View(gestor.SystemScope()).Node(ctx, gestor.NodeID(proven.Node))
	if errors.Is(err, fault.KindNotFound) || err == nil && !pki.SameHash(node.SPKI, proven.SPKI) {
		return auth.Caller{}, fault.Unauthenticated("this node was deleted, or enrolled again with another key").
			WithFix("make a join token and enroll the host again").WithCause(errUnknown)
	}
	if err != nil {
		return auth.Caller{}, err
	}
	return auth.Caller{Kind: auth.Agent, Node: node, RenewOnly: proven.Expired}, nil
}

func (g *gate) user(ctx context.Context, token string) (auth.Caller, error) {
	hash, ok := auth.HashBearer(token)
	if !ok {
		return auth.Caller{}, ended()
	}
	caller, err := g.known.caller(ctx, hash, g.read)
	if err == nil && !g.deps.Now().Before(caller.Session.ExpiresAt) {
		return auth.Caller{}, ended()
	}
	return caller, err
}

func ended() *fault.Error {
	return fault.Unauthenticated("the session has ended").WithFix("sign in with `gestor login`")
}

// read finds out who stands behind a token.
func (g *gate) read(ctx context.Context, hash []byte) (auth.Caller, error) {
	view := g.deps.Engine.View(gestor.SystemScope())
	session, err := view.SessionByTokenHash(ctx, hash)
	if errors.Is(err, fault.KindNotFound) {
		return auth.Caller{}, ended().WithCause(errUnknown)
	}
	if err != nil {
		return auth.Caller{}, err
	}
	user, err := view.User(ctx, session.UserID)
	if errors.Is(err, fault.KindNotFound) || err == nil && user.Status != statusActive {
		return auth.Caller{}, ended()
	}
	if err != nil {
		return auth.Caller{}, err
	}
	tenant, err := view.Tenant(ctx, user.TenantID)
	if err != nil {
		return auth.Caller{}, err
	}
	if tenant.Status != statusActive {
		return auth.Caller{}, fault.Denied("the tenant %s is %s", tenant.Name, tenant.Status)
	}
	return auth.Caller{Kind: auth.User, Tenant: tenant.ID, User: user, Session: session}, nil
}

// statusActive is the status of users and tenants who may work.
const statusActive = "active"

// report logs an error of which the client sees only the reference.
func (g *gate) report(ctx context.Context, procedure string, err error) {
	g.deps.Log.LogAttrs(ctx, slog.LevelError, "request failed",
		slog.String("request", referenceOf(ctx)), slog.String("procedure", procedure), slog.Any("err", err))
}

func actor(c auth.Caller, r *request, action string) gestor.Actor {
	a := gestor.Actor{Kind: "anonymous", Address: r.address, UserAgent: r.userAgent, Action: action}
	switch c.Kind {
	case auth.User:
		a.Kind, a.ID, a.Name = "user", string(c.User.ID), c.User.Email
		a.TenantID, a.SessionID = c.Tenant, c.Session.ID
	case auth.Agent:
		a.Kind, a.ID, a.Name, a.TenantID = "agent", string(c.Node.ID), c.Node.Name, c.Node.TenantID
	case auth.Anonymous:
	}
	return a
}
