package state

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

type tenantRow struct {
	gestor.Tenant
	revision uint64
}

var tenants = newTable(Tenants, "tenants", []string{"id"}, func(t *tenantRow) []column {
	return []column{
		{"id", &t.ID},
		{"name", &t.Name},
		{"plan", &t.Plan},
		{"status", &t.Status},
		{"created_at", &t.CreatedAt},
		{"revision", &t.revision},
	}
}).since(levelPeople, func(t *tenantRow) []column {
	return []column{
		{"reason", &t.Reason},
		{"second_factor", &t.SecondFactor},
		{"trashed_at", &t.TrashedAt},
		{"status_before", &t.Before},
		{"max_apps", &t.Quotas.Apps},
		{"max_databases", &t.Quotas.Databases},
		{"storage_bytes", &t.Quotas.StorageBytes},
	}
})

// Tenant is a tenant; a tenant scope sees its own.
func (v *View) Tenant(ctx context.Context, id gestor.TenantID) (gestor.Tenant, error) {
	if !v.scope.IsSystem() && v.scope.Tenant != id {
		id = ""
	}
	// A tenant's own row has no tenant_id; the check above is its scope.
	system := View{from: v.from, scope: gestor.SystemScope()}
	t, err := one(ctx, &system, tenants, "tenant", " AND id = ? AND id <> ''", string(id))
	return t.Tenant, err
}

// PutTenant writes a tenant.
func (x *Txn) PutTenant(ctx context.Context, t gestor.Tenant) error {
	return tenants.save(ctx, x, &tenantRow{t, x.Revision})
}

type userRow struct {
	gestor.User
	revision uint64
}

var users = newTable(Users, "users", []string{"id"}, func(u *userRow) []column {
	return []column{
		{"id", &u.ID},
		{"tenant_id", &u.TenantID},
		{"email", &u.Email},
		{"password_hash", &u.PasswordHash},
		{"role", &u.Role},
		{"status", &u.Status},
		{"created_at", &u.CreatedAt},
		{"revision", &u.revision},
	}
}).since(levelPeople, func(u *userRow) []column {
	return []column{
		{"operator", &u.Operator},
		{"narrow_json", &u.Narrow},
		{"has_factor", &u.HasFactor},
		{"networks_json", &u.Networks},
		{"name", &u.Name},
		{"email_verified_at", &u.EmailVerifiedAt},
		{"password_set_at", &u.PasswordSetAt},
		{"reset_at", &u.ResetAt},
	}
})

var usersByEmail = order[userRow]{by: "email", key: func(u userRow) cursor { return cursor{Text: u.Email, ID: string(u.ID)} }}

// Users are the people of the scope, by address.
func (v *View) Users(ctx context.Context, page gestor.Page) ([]gestor.User, string, error) {
	rows, next, err := list(ctx, v, users, usersByEmail, page, "")
	out := make([]gestor.User, len(rows))
	for i, r := range rows {
		out[i] = r.User
	}
	return out, next, err
}

const fullAdmins = `
SELECT count(*)
FROM users
WHERE tenant_id = ? AND role = 'admin' AND status = 'active' AND narrow_json = '{}' AND id <> ?`

// CountFullAdmins is how many may give everything in a tenant back, but for one; see gestor.User.IsFullAdmin.
func (x *Txn) CountFullAdmins(ctx context.Context, tenant gestor.TenantID, but gestor.UserID) (int64, error) {
	return x.number(ctx, fullAdmins, string(tenant), string(but))
}

// CountOperators is how many manage the installation and may sign in, but for one.
func (x *Txn) CountOperators(ctx context.Context, but gestor.UserID) (int64, error) {
	return x.number(ctx, "SELECT count(*) FROM users WHERE operator = 1 AND status = 'active' AND id <> ?", string(but))
}

// DeleteUser removes a user with all that opens the door to them, if they are there.
func (x *Txn) DeleteUser(ctx context.Context, id gestor.UserID) error {
	if err := errors.Join(x.EndAccess(ctx, id), x.DeleteFactors(ctx, id), x.DeleteIdentities(ctx, id)); err != nil {
		return err
	}
	x.touch(Users)
	return x.exec(ctx, "DELETE FROM users WHERE id = ?", string(id))
}

// EndAccess signs a user out everywhere and ends their personal tokens.
func (x *Txn) EndAccess(ctx context.Context, id gestor.UserID) error {
	if err := x.EndSessions(ctx, id, ""); err != nil {
		return err
	}
	x.touch(Tokens)
	return x.exec(ctx, "DELETE FROM tokens WHERE user_id = ? AND kind = 'personal'", string(id))
}

// EndSessions signs a user out everywhere but in one session.
func (x *Txn) EndSessions(ctx context.Context, id gestor.UserID, but gestor.SessionID) error {
	x.touch(Sessions)
	return x.exec(ctx, "DELETE FROM sessions WHERE user_id = ? AND id <> ?", string(id), string(but))
}

// User is a user.
func (v *View) User(ctx context.Context, id gestor.UserID) (gestor.User, error) {
	u, err := one(ctx, v, users, "user", " AND id = ?", string(id))
	return u.User, err
}

// UserByEmail is the user with an address, which is lower case.
func (v *View) UserByEmail(ctx context.Context, email string) (gestor.User, error) {
	u, err := one(ctx, v, users, "user", " AND email = ?", email)
	return u.User, err
}

// PutUser writes a user.
func (x *Txn) PutUser(ctx context.Context, u gestor.User) error {
	return users.save(ctx, x, &userRow{u, x.Revision})
}
