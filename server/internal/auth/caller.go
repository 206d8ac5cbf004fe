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
	Tenant    gestor.TenantID // of a User; empty for all others, so that agents see no tenant
	User      gestor.User     // of a User
	Session   gestor.Session  // of a User
	Node      gestor.Node     // of an Agent
	RenewOnly bool            // an Agent whose certificate has ended: it may renew it and nothing else
	Actor     gestor.Actor    // the caller as commands and the audit log name it, with the action of the method called
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

type callerKey struct{}

// WithCaller puts the caller into ctx.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom takes the caller out of ctx. It is false where nobody has proven anything.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c, c.Kind != Anonymous
}

// NodeFrom tells which node an agent's request comes from.
func NodeFrom(ctx context.Context) (gestor.NodeID, gestor.TenantID, bool) {
	c, _ := CallerFrom(ctx)
	return c.Node.ID, c.Node.TenantID, c.Kind == Agent
}
