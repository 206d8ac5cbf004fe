package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	"github.com/saas-gestor/gestor/server/internal/state"
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
	if err != nil {
		return auth.Caller{}, err
	}
	caller.Actor = actor(caller, requestOf(ctx), access)
	if caller.IsMember() {
		g.deps.Seen(caller, requestOf(ctx).address)
	}
	err = g.allowedNow(caller, spec)
	g.refused(ctx, caller, spec, err)
	return caller, err
}

// allowedNow refuses what a caller may do in general, but not as things are: changes while the tenant is not active, and
// what needs a recent proof of identity without one.
func (g *gate) allowedNow(c auth.Caller, spec connect.Spec) error {
	access := g.policy[spec.Procedure]
	p := access.GetPermission()
	if !c.IsMember() || p == gestorv1.Permission_PERMISSION_PUBLIC {
		return nil
	}
	changes := !isRead(spec)
	switch {
	case c.ReadOnly != "" && changes && !access.GetSuspended():
		return fault.Denied("%s", c.ReadOnly).WithFix("what runs goes on running; ask the operator of this installation")
	case c.Kind == auth.Machine && p == gestorv1.Permission_PERMISSION_MEMBER && changes:
		return fault.Denied("a token may not change the account of its user").WithFix("sign in with `gestor login`")
	case !access.GetStepUp() || c.Fresh(p, g.deps.Now()):
		return nil
	case c.Kind == auth.Machine:
		return fault.Denied("the token %s may not do this: it needs a token made for just that", c.Token.Name).
			WithFix("make one with `gestor tokens create --permission %s`", auth.Name(p))
	}
	return fault.Denied("this needs you to have signed in within the last %s", "5 minutes").
		WithFix("prove again who you are: gestor login --again").WithReason(fault.ReasonStepUp)
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
	err := allowed(caller, spec.Procedure, permission)
	g.refused(ctx, caller, spec, err)
	return caller, err
}

var whose = map[auth.Kind]string{auth.User: "tenant", auth.Machine: "tenant", auth.Agent: "node"}

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
	return refusal(c, p)
}

// refusal says why a member of a tenant may not do something.
func refusal(c auth.Caller, p gestorv1.Permission) error {
	holders, _ := auth.HoldersOf(p)
	switch {
	case c.SetupOnly:
		return fault.Denied("your tenant wants everybody to have a second factor, and you have none").
			WithFix("set one up with `gestor account totp`, then sign in again").WithReason(fault.ReasonSecondFactor)
	case holders.Operator && !c.User.Operator:
		return fault.Denied("only operators of this installation may do this").WithFix("ask one of them")
	case c.Kind == auth.Machine:
		return fault.Denied("the token %s may not do this", c.Token.Name).
			WithFix("it needs the permission %s, and so does who it belongs to", auth.Name(p))
	}
	return fault.Denied("the role %s may not do this", c.Role()).WithFix("ask an admin of your tenant")
}

// authenticate proves who calls: a client certificate makes an agent, whatever else was sent; a bearer
// token a member of a tenant.
func (g *gate) authenticate(ctx context.Context, header http.Header) (auth.Caller, error) {
	if r := requestOf(ctx); len(r.peer) > 0 {
		return g.agent(ctx, r)
	}
	token := auth.BearerFrom(header.Get("Authorization"))
	if token == "" && auth.SameOrigin(header) {
		token, _ = auth.CookieOf(header)
	}
	if token == "" {
		return auth.Caller{}, nil
	}
	return g.member(ctx, token)
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

// member looks up who stands behind a session or a token, at every call.
func (g *gate) member(ctx context.Context, secret string) (auth.Caller, error) {
	hash, sort, ok := auth.HashBearer(secret)
	if !ok {
		return auth.Caller{}, ended()
	}
	caller, err := g.known.caller(ctx, hash, func(ctx context.Context, hash []byte) (auth.Caller, error) {
		if sort == auth.BearerSession {
			return g.session(ctx, hash)
		}
		return g.token(ctx, hash)
	})
	if err != nil {
		return auth.Caller{}, err
	}
	if now := g.deps.Now(); caller.Kind == auth.User && auth.SessionEnded(caller.Session, now) {
		return auth.Caller{}, ended()
	} else if caller.Kind == auth.Machine && auth.TokenEnded(caller.Token, now) {
		return auth.Caller{}, revoked()
	}
	return caller, nil
}

func ended() *fault.Error {
	return fault.Unauthenticated("the session has ended").WithFix("sign in with `gestor login`")
}

func revoked() *fault.Error {
	return fault.Unauthenticated("the token has expired, or was taken back").WithFix("make a new one with `gestor tokens create`")
}

// session finds out who stands behind a session.
func (g *gate) session(ctx context.Context, hash []byte) (auth.Caller, error) {
	session, err := g.system().SessionByTokenHash(ctx, hash)
	if errors.Is(err, fault.KindNotFound) {
		return auth.Caller{}, ended().WithCause(errUnknown)
	}
	if err != nil {
		return auth.Caller{}, err
	}
	if session.FreshAt.IsZero() {
		session.FreshAt = session.CreatedAt // of a state that does not keep it
	}
	user, ok, err := g.active(ctx, session.UserID)
	if err != nil || !ok {
		return auth.Caller{}, cmp.Or(err, error(ended()))
	}
	return g.resident(ctx, auth.Caller{Kind: auth.User, Tenant: user.TenantID, User: user, Session: session})
}

// token finds out whose a token is.
func (g *gate) token(ctx context.Context, hash []byte) (auth.Caller, error) {
	token, err := g.system().TokenByHash(ctx, hash)
	if errors.Is(err, fault.KindNotFound) {
		return auth.Caller{}, revoked().WithCause(errUnknown)
	}
	if err != nil {
		return auth.Caller{}, err
	}
	caller := auth.Caller{Kind: auth.Machine, Tenant: token.TenantID, Token: token}
	if token.Kind == gestor.TokenPersonal {
		user, ok, err := g.active(ctx, token.UserID)
		if err != nil || !ok {
			return auth.Caller{}, cmp.Or(err, error(revoked()))
		}
		caller.User = user
	}
	return g.resident(ctx, caller)
}

// active finds a user who may work.
func (g *gate) active(ctx context.Context, id gestor.UserID) (gestor.User, bool, error) {
	user, err := g.system().User(ctx, id)
	if errors.Is(err, fault.KindNotFound) || err == nil && user.Status != gestor.StatusActive {
		return gestor.User{}, false, nil
	}
	return user, err == nil, err
}

// resident adds to a caller what has become of the tenant.
func (g *gate) resident(ctx context.Context, c auth.Caller) (auth.Caller, error) {
	tenant, err := g.system().Tenant(ctx, c.Tenant)
	if err != nil {
		return auth.Caller{}, err
	}
	switch tenant.Status {
	case gestor.StatusActive:
	case gestor.StatusSuspended, gestor.StatusCancelled:
		c.ReadOnly = fmt.Sprintf("the tenant %s is %s", tenant.Name, tenant.Status)
		if tenant.Reason != "" {
			c.ReadOnly += ": " + tenant.Reason
		}
	default:
		return auth.Caller{}, fault.Unauthenticated("the tenant %s is closed", tenant.Name)
	}
	c.SetupOnly = c.Kind == auth.User && tenant.SecondFactor && !c.User.HasFactor && !c.Session.SecondFactor
	return c, nil
}

func (g *gate) system() *state.View { return g.deps.Engine.View(gestor.SystemScope()) }

// report logs an error of which the client sees only the reference.
func (g *gate) report(ctx context.Context, procedure string, err error) {
	g.deps.Log.LogAttrs(ctx, slog.LevelError, "request failed",
		slog.String("request", referenceOf(ctx)), slog.String("procedure", procedure), slog.Any("err", err))
}

// actor is the caller as commands and the audit log name it. One who calls what is for operators acts for the installation.
func actor(c auth.Caller, r *request, access *gestorv1.Access) gestor.Actor {
	a := gestor.Actor{
		Kind: "anonymous", Address: r.address, UserAgent: r.userAgent, Action: access.GetAudit(), Reference: r.reference,
		Severity: gestor.SeverityOf(access.GetAudit()),
	}
	holders, _ := auth.HoldersOf(access.GetPermission())
	switch c.Kind {
	case auth.User:
		a.Kind, a.ID, a.Name = "user", string(c.User.ID), c.User.Email
		a.TenantID, a.SessionID = c.Tenant, c.Session.ID
		a.Operator = holders.Operator
	case auth.Machine:
		a.Kind, a.ID, a.Name = "token", cmp.Or(string(c.User.ID), string(c.Token.ID)), cmp.Or(c.User.Email, c.Token.Name)
		a.TenantID, a.TokenID = c.Tenant, c.Token.ID
		a.Operator = holders.Operator
	case auth.Agent:
		a.Kind, a.ID, a.Name, a.TenantID = "agent", string(c.Node.ID), c.Node.Name, c.Node.TenantID
	case auth.Anonymous:
	}
	return a
}
