package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
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
}

func (g *gate) enter(ctx context.Context, spec connect.Spec, _ connect.Peer, header http.Header) (context.Context, error) {
	caller, err := g.admit(ctx, spec.Procedure, header)
	if err == nil {
		err = g.catchUp(ctx, caller, header)
	}
	if err != nil {
		ce, whole := rpc.Encode(err, referenceOf(ctx))
		if !whole {
			g.report(ctx, spec.Procedure, err)
		}
		note(ctx, ce.Code().String())
		return nil, ce
	}
	identify(ctx, caller)
	if spec.StreamType == connect.StreamTypeUnary {
		requestOf(ctx).hurry(g.deps.Times.Body)
	}
	return auth.WithCaller(ctx, caller), nil
}

// admit says who calls procedure, or why they may not.
func (g *gate) admit(ctx context.Context, procedure string, header http.Header) (auth.Caller, error) {
	access, ok := g.policy[procedure]
	if !ok {
		return auth.Caller{}, fault.Denied("%s has no policy", procedure)
	}
	if err := g.claimed(ctx, procedure); err != nil {
		return auth.Caller{}, err
	}
	caller, why := g.authenticate(ctx, header)
	public := access.GetPermission() == gestorv1.Permission_PERMISSION_PUBLIC
	if why != nil && (!public || fault.KindOf(why) == fault.KindInternal) { // an old token must not keep people from signing in
		return auth.Caller{}, why
	}
	if err := allowed(caller, procedure, access.GetPermission()); err != nil {
		return auth.Caller{}, err
	}
	caller.Actor = actor(caller, requestOf(ctx), access.GetAudit())
	return caller, nil
}

// claimed refuses everything but setup and enrolment while the installation belongs to nobody.
func (g *gate) claimed(ctx context.Context, procedure string) error {
	switch procedure {
	case gestorv1connect.SetupServiceGetSetupProcedure, gestorv1connect.SetupServiceClaimProcedure,
		agentv1connect.EnrollmentServiceEnrollProcedure, agentv1connect.EnrollmentServiceRenewProcedure:
		return nil
	}
	cluster, err := g.deps.Engine.View(gestor.SystemScope()).Cluster(ctx)
	if err != nil {
		return err
	}
	if !cluster.Claimed {
		return fault.Conflict("nobody has claimed this installation yet").
			WithFix("run the `gestor setup` command that the server printed")
	}
	return nil
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
			WithFix("make a join token and enroll the host again")
	}
	if err != nil {
		return auth.Caller{}, err
	}
	return auth.Caller{Kind: auth.Agent, Node: node, RenewOnly: proven.Expired}, nil
}

func (g *gate) user(ctx context.Context, token string) (auth.Caller, error) {
	ended := fault.Unauthenticated("the session has ended").WithFix("sign in with `gestor login`")
	hash, ok := auth.HashBearer(token)
	if !ok {
		return auth.Caller{}, ended
	}
	view := g.deps.Engine.View(gestor.SystemScope())
	session, err := view.SessionByTokenHash(ctx, hash)
	if errors.Is(err, fault.KindNotFound) || err == nil && !g.deps.Now().Before(session.ExpiresAt) {
		return auth.Caller{}, ended
	}
	if err != nil {
		return auth.Caller{}, err
	}
	user, err := view.User(ctx, session.UserID)
	if errors.Is(err, fault.KindNotFound) || err == nil && user.Status != statusActive {
		return auth.Caller{}, ended
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

// catchUp waits until this server has applied what the caller has seen on another.
func (g *gate) catchUp(ctx context.Context, c auth.Caller, header http.Header) error {
	least, err := strconv.ParseUint(header.Get(rpc.HeaderMinRevision), 10, 64)
	if err != nil || c.Kind == auth.Anonymous || least <= g.deps.Revision() {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, g.deps.Times.Revision)
	defer cancel()
	if err := g.deps.Engine.Wait(waiting, least); err != nil && ctx.Err() == nil {
		return fault.Unavailable("this server is behind what you have seen elsewhere").WithCause(err).WithRetryAfter(time.Second)
	}
	return ctx.Err()
}

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
