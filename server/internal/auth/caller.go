package auth

import (
	"context"
	"slices"
	"strings"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Kind is what sort of caller it is.
type Kind string

// The zero Kind is nobody in particular.
const (
	Anonymous Kind = ""
	User      Kind = "user"  // a signed-in person
	Machine   Kind = "token" // a program with a token
	Agent     Kind = "agent"
)

// FreshFor is how long a proof of identity is enough for what needs a recent one.
const FreshFor = 5 * time.Minute

// Caller is who stands behind a request, as far as it has been proven. The zero Caller is anonymous.
type Caller struct {
	Kind      Kind
	Tenant    gestor.TenantID // of a User or Machine; empty for all others, so that agents see no tenant
	User      gestor.User     // of a User, and of a Machine with a personal token
	Session   gestor.Session  // of a User
	Token     gestor.Token    // of a Machine
	Node      gestor.Node     // of an Agent
	RenewOnly bool            // an Agent whose certificate has ended: it may renew it and nothing else
	ReadOnly  string          // why a User or Machine may change nothing: what has become of the tenant; empty if they may
	SetupOnly bool            // a User whose tenant wants a second factor that they have not set up: MEMBER and nothing else
	Actor     gestor.Actor    // the caller as commands and the audit log name it, with the action of the method called
}

// IsMember reports whether the caller is somebody of a tenant: a person, or a program with a token.
func (c Caller) IsMember() bool { return c.Kind == User || c.Kind == Machine }

// Role is the caller's role in the tenant; empty for agents and nobody.
func (c Caller) Role() gestor.Role {
	if c.Kind == Machine && c.Token.Kind == gestor.TokenService {
		return c.Token.Role
	}
	return c.User.Role
}

// May reports whether the caller holds a permission.
func (c Caller) May(p gestorv1.Permission) bool {
	switch {
	case p == gestorv1.Permission_PERMISSION_PUBLIC:
		return true
	case p == gestorv1.Permission_PERMISSION_AGENT:
		return c.Kind == Agent
	case !c.IsMember(), c.SetupOnly && p != gestorv1.Permission_PERMISSION_MEMBER:
		return false
	}
	h := matrix[p]
	return (slices.Contains(h.Roles, c.Role()) || h.Operator && c.User.Operator) && (c.Kind == User || c.named(p))
}

// named reports whether the caller's token is for a permission. To ask who one is, any will do.
func (c Caller) named(p gestorv1.Permission) bool {
	return len(c.Token.Permissions) == 0 || p == gestorv1.Permission_PERMISSION_MEMBER || c.names(p)
}

func (c Caller) names(p gestorv1.Permission) bool {
	return slices.Contains(c.Token.Permissions, Name(p))
}

// Name is how tokens, tables and people spell a permission: "APP_READ".
func Name(p gestorv1.Permission) string { return strings.TrimPrefix(p.String(), "PERMISSION_") }

// Named is the permission of a name; false if there is none that a person or token could hold.
func Named(name string) (gestorv1.Permission, bool) {
	p := gestorv1.Permission(gestorv1.Permission_value["PERMISSION_"+name])
	h := matrix[p]
	return p, len(h.Roles) > 0 || h.Operator
}

// Fresh reports whether the caller may do now what needs a recent proof of identity: a person by having given it, a token
// by being made for just that permission.
func (c Caller) Fresh(p gestorv1.Permission, now time.Time) bool {
	if c.Kind == Machine {
		return c.names(p)
	}
	return c.Kind == User && now.Sub(c.Session.FreshAt) < FreshFor
}

// Permissions are all the caller holds, in the order of their numbers.
func (c Caller) Permissions() []gestorv1.Permission {
	return slices.DeleteFunc(Permissions(c.Role(), c.User.Operator), func(p gestorv1.Permission) bool { return !c.May(p) })
}

// Scope is what of the state the caller may see: of the tenant, what user and token are both for.
func (c Caller) Scope() gestor.Scope {
	return gestor.TenantScope(c.Tenant).Within(c.User.Narrow).Within(c.Token.Narrow)
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
