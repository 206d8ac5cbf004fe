package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var protections = newTableOf(levelPeople, Protections, "protections", []string{"tenant_id", "environment"}, func(p *gestor.Protection) []column {
	return []column{
		{"tenant_id", &p.TenantID},
		{"environment", &p.Environment},
		{"require_approval", &p.RequireApproval},
		{"approvals", &p.Approvals},
		{"rollback_needs_approval", &p.RollbackNeedsApproval},
		{"freezes_json", &p.Freezes},
		{"updated_by", &p.UpdatedBy},
		{"updated_at", &p.UpdatedAt},
		{"revision", &p.Revision},
	}
})

// Protection is the protection of an environment of a tenant; the zero one, which demands nothing, if there is none.
func (v *View) Protection(ctx context.Context, tenant gestor.TenantID, environment string) (gestor.Protection, error) {
	if v.from.level() < levelPeople {
		return gestor.Protection{}, nil
	}
	found, err := many(ctx, v, protections, " AND tenant_id = ? AND environment = ?", string(tenant), environment)
	if err != nil || len(found) == 0 {
		return gestor.Protection{}, err
	}
	return found[0], nil
}

// PutProtection writes the protection of an environment.
func (x *Txn) PutProtection(ctx context.Context, p gestor.Protection) error {
	p.Revision = x.Revision
	return protections.save(ctx, x, &p)
}

// Approvals belong to deployments: whoever watches those hears of them.
var approvals = newTableOf(levelPeople, Deployments, "deployment_approvals", []string{"deployment_id", "user_id"}, func(a *gestor.Approval) []column {
	return []column{
		{"deployment_id", &a.DeploymentID},
		{"user_id", &a.UserID},
		{"tenant_id", &a.TenantID},
		{"app_id", &a.AppID},
		{"name", &a.Name},
		{"token_id", &a.TokenID},
		{"at", &a.At},
		{"comment", &a.Comment},
		{"what", &a.What},
		{"revision", &a.Revision},
	}
}).within(bounds{app: "app_id"})

// Approvals are all that were given for a deployment, also those that do not count any more, the oldest first.
func (v *View) Approvals(ctx context.Context, id gestor.DeploymentID) ([]gestor.Approval, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	return many(ctx, v, approvals, " AND deployment_id = ? ORDER BY at, user_id", string(id))
}

// PutApproval writes an approval, over an earlier one of the same person.
func (x *Txn) PutApproval(ctx context.Context, a gestor.Approval) error {
	a.Revision = x.Revision
	return approvals.save(ctx, x, &a)
}

// forgetApprovals removes those of an app's deployments.
func (x *Txn) forgetApprovals(ctx context.Context, app gestor.AppID) error {
	if !x.AtLeast(levelPeople) {
		return nil
	}
	return x.exec(ctx, "DELETE FROM deployment_approvals WHERE app_id = ?", string(app))
}
