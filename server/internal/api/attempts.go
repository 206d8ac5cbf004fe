package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/audit"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Attempts takes what was refused before it became a command, for the audit log. It must neither wait nor write: a refusal
// must not be a way to make the cluster write.
type Attempts interface {
	Refused(ctx context.Context, a RefusedAttempt)
}

// RefusedAttempt is something that was refused.
type RefusedAttempt = audit.Attempt

// noAttempts forgets.
type noAttempts struct{}

func (noAttempts) Refused(context.Context, RefusedAttempt) {}

// Why attempts are refused, as the audit log says it.
const (
	whyPermission = "permission"
	whySuspended  = "suspended"
	whyPassword   = "password"
	whyFactor     = "second_factor_wrong"
	whyBlocked    = "blocked"
	whyTooOften   = "too_often"
)

// refused tells the audit log of a member or agent whom the gate did not let through. What is merely unknown, too much or not
// possible now is no attempt at what one may not do.
func (g *gate) refused(ctx context.Context, c auth.Caller, spec connect.Spec, err error) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.KindDenied || c.Kind == auth.Anonymous {
		return
	}
	why := whyPermission
	switch {
	case f.Reason != "":
		why = string(f.Reason)
	case c.ReadOnly != "" && c.May(g.policy[spec.Procedure].GetPermission()):
		why = whySuspended
	}
	who := actor(c, requestOf(ctx), g.policy[spec.Procedure])
	g.deps.Attempts.Refused(ctx, RefusedAttempt{Actor: who, Tenant: who.TenantID, Procedure: spec.Procedure, Reason: why})
}

// signInRefused is a sign-in that failed: of a user, if there is one of the address that was given, which the tenant's audit
// log tells then. What was given is not kept: people type passwords into the wrong field.
func signInRefused(ctx context.Context, user gestor.User, reason string) RefusedAttempt {
	r := requestOf(ctx)
	return RefusedAttempt{
		Actor:  gestor.Actor{Kind: "anonymous", Address: r.address, Action: "session.create"},
		Tenant: user.TenantID, Object: string(user.ID), Reason: reason,
	}
}

// recordRead writes to the audit log that the caller is about to see a secret. Nothing may be shown when it fails. detail
// names what is shown, never its value.
func (r reach) recordRead(ctx context.Context, object string, detail map[string]any) error {
	return r.record(ctx, gestor.AuditEntry{
		TenantID: r.caller.Tenant, Object: object, Severity: gestor.AuditNotice, Outcome: gestor.OutcomeDone,
	}, detail)
}
