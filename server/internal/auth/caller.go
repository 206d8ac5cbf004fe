package auth

import (
	"context"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Kind is what sort of caller it is.
type Kind string

// The zero Kind is nobody in particular.
const (
	Anonymous Kind = ""
	User      Kind = "user"
	Agent     Kind = "agent"
)

// Caller is who stands behind a request, as far as it has been proven. The zero Caller is anonymous.
type Caller struct {
	Kind      Kind
	User      gestor.User    // of a User
	Session   gestor.Session // of a User
	Tenant    gestor.Tenant  // of a User
	Node      gestor.Node    // of an Agent
	RenewOnly bool           // an Agent whose certificate has ended: it may renew it
	Address   string         // network address without port
	UserAgent string         // what the program said it was
	Audit     string         // the audit action of the method that was called; empty if it changes nothing
}

// May reports whether the caller holds a permission.
func (c Caller) May(p gestorv1.Permission) bool {
	switch {
	case p == gestorv1.Permission_PERMISSION_PUBLIC:
		return true
	case p == gestorv1.Permission_PERMISSION_AGENT:
		return c.Kind == Agent
	case c.Kind == User:
		return Holds(c.User.Role, p)
	}
	return false
}

// Scope is what the caller may see of the state: a user's tenant, and nothing for anybody else.
func (c Caller) Scope() gestor.Scope {
	if c.Kind != User {
		return gestor.Scope{}
	}
	return gestor.TenantScope(c.User.TenantID)
}

// Actor is the caller as the audit log names it.
func (c Caller) Actor() gestor.Actor {
	a := gestor.Actor{Address: c.Address, UserAgent: c.UserAgent, Action: c.Audit}
	switch c.Kind {
	case User:
		a.Kind, a.ID, a.Name = "user", string(c.User.ID), c.User.Email
		a.TenantID, a.SessionID = c.User.TenantID, c.Session.ID
	case Agent:
		a.Kind, a.ID, a.Name, a.TenantID = "agent", string(c.Node.ID), c.Node.Name, c.Node.TenantID
	case Anonymous:
		a.Kind = "anonymous"
	}
	return a
}

type callerKey struct{}

// WithCaller puts the caller into ctx.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From takes the caller out of ctx; nobody if there is none.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// NodeFrom tells which node an agent's request comes from.
func NodeFrom(ctx context.Context) (gestor.NodeID, gestor.TenantID, bool) {
	c := From(ctx)
	return c.Node.ID, c.Node.TenantID, c.Kind == Agent
}
