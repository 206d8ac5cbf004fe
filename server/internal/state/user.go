package state

import (
	"context"

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
	}
})

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
