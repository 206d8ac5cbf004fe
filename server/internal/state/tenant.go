package state

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var tenantsByName = order[tenantRow]{by: "name", key: func(t tenantRow) cursor {
	return cursor{Text: t.Name, ID: string(t.ID)}
}}

func unwrap(rows []tenantRow) []gestor.Tenant {
	out := make([]gestor.Tenant, len(rows))
	for i, r := range rows {
		out[i] = r.Tenant
	}
	return out
}

// Tenants are all tenants by name, for the system scope only.
func (v *View) Tenants(ctx context.Context, page gestor.Page) ([]gestor.Tenant, string, error) {
	if !v.scope.IsSystem() {
		return nil, "", notSystem()
	}
	found, next, err := list(ctx, v, tenants, tenantsByName, page, "")
	return unwrap(found), next, err
}

// TenantsByName are the tenants of a name, the oldest first, for the system scope only: names need not be unique.
func (v *View) TenantsByName(ctx context.Context, name string) ([]gestor.Tenant, error) {
	return v.tenantsWhere(ctx, " AND name = ? ORDER BY created_at, id", name)
}

// TenantsInTrash are the tenants that wait to go, the first to go first, for the system scope only.
func (v *View) TenantsInTrash(ctx context.Context) ([]gestor.Tenant, error) {
	if v.from.level() < levelPeople {
		return nil, nil // there was no trash
	}
	return v.tenantsWhere(ctx, " AND status = 'trash' ORDER BY trashed_at, id")
}

func (v *View) tenantsWhere(ctx context.Context, rest string, args ...any) ([]gestor.Tenant, error) {
	if !v.scope.IsSystem() {
		return nil, notSystem()
	}
	found, err := many(ctx, v, tenants, rest, args...)
	return unwrap(found), err
}

func notSystem() error { return fault.NotFound("there is no such tenant") }

// Operators are the users who manage the installation and may sign in, the oldest first, for the system scope only.
func (v *View) Operators(ctx context.Context) ([]gestor.User, error) {
	if !v.scope.IsSystem() || v.from.level() < levelPeople {
		return nil, nil
	}
	found, err := many(ctx, v, users, " AND operator = 1 AND status = 'active' ORDER BY created_at, id")
	out := make([]gestor.User, len(found))
	for i, r := range found {
		out[i] = r.User
	}
	return out, err
}

// Use is what tenants have of all that is limited, by tenant: those in the scope that have anything. A narrower scope within a tenant does not
// matter: the limits are the tenant's.
func (v *View) Use(ctx context.Context) (map[gestor.TenantID]gestor.Quotas, error) {
	return v.use(ctx, "")
}

func (v *View) use(ctx context.Context, rest string, args ...any) (map[gestor.TenantID]gestor.Quotas, error) {
	where, args := v.where(bounds{}, args...)
	rows, err := v.from.query(ctx, "SELECT tenant_id, count(*)\nFROM applications\n"+where+rest+" AND status <> 'deleting'\nGROUP BY tenant_id", args...)
	if err != nil {
		return nil, fmt.Errorf("count what tenants use: %w", err)
	}
	defer rows.Close()
	used := map[gestor.TenantID]gestor.Quotas{}
	for rows.Next() {
		var id gestor.TenantID
		var q gestor.Quotas
		if err := rows.Scan(&id, &q.Apps); err != nil {
			return nil, fmt.Errorf("count what tenants use: %w", err)
		}
		used[id] = q
	}
	return used, rows.Err()
}

// UseOf is what a tenant in the scope has of all that is limited.
func (v *View) UseOf(ctx context.Context, id gestor.TenantID) (gestor.Quotas, error) {
	used, err := v.use(ctx, " AND tenant_id = ?", string(id))
	return used[id], err
}

// NodesOf are the nodes that belong to a tenant, by name; of a tenant scope without those that others share.
func (v *View) NodesOf(ctx context.Context, tenant gestor.TenantID) ([]gestor.Node, error) {
	return many(ctx, v, nodes, " AND tenant_id = ? ORDER BY name, id", string(tenant))
}

// AppsOf are the apps of a tenant by slug, for loops that need every one of them.
func (v *View) AppsOf(ctx context.Context, tenant gestor.TenantID) ([]gestor.App, error) {
	return many(ctx, v, apps, " AND tenant_id = ? ORDER BY slug", string(tenant))
}

// onNodeNow are the apps that a node is for: those whose settings name it, those being deployed to it, and those that
// were brought live on it last and have not been taken off.
const onNodeNow = ` AND (
  id IN (SELECT app_id FROM application_nodes WHERE node_id = ?)
  OR EXISTS (
    SELECT 1
    FROM deployments AS d, json_each(d.nodes_json) AS n
    WHERE d.app_id = applications.id AND n.value = ? AND (d.ended = 0 OR d.id = (
      SELECT l.id
      FROM deployments AS l
      WHERE l.app_id = applications.id AND l.live_at > 0
      ORDER BY l.live_at DESC, l.id DESC
      LIMIT 1))))
ORDER BY slug`

// AppsUsing are the apps that are or are to be on a node, by slug.
func (v *View) AppsUsing(ctx context.Context, node gestor.NodeID) ([]gestor.App, error) {
	return many(ctx, v, apps, onNodeNow, string(node), string(node))
}

// stays reports whether what a table holds of a tenant outlives it: the audit log does, it tells how the tenant went.
func stays(table string) bool { return strings.HasPrefix(table, "audit_") }

const tenantTables = `
SELECT m.name
FROM sqlite_master AS m
WHERE m.type = 'table' AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) AS c WHERE c.name = 'tenant_id')
ORDER BY m.name`

// PurgeTenant removes every row of a tenant, in every table that knows tenants, but the audit log.
func (x *Txn) PurgeTenant(ctx context.Context, id gestor.TenantID) error {
	names, err := texts(ctx, x, tenantTables)
	if err != nil {
		return fmt.Errorf("find the tables of tenants: %w", err)
	}
	x.touch(^Table(0))
	for _, name := range slices.DeleteFunc(names, stays) {
		if err := x.exec(ctx, `DELETE FROM "`+name+`" WHERE tenant_id = ?`, string(id)); err != nil {
			return fmt.Errorf("remove tenant %s from %s: %w", id, name, err)
		}
	}
	return x.exec(ctx, "DELETE FROM tenants WHERE id = ?", string(id))
}

// texts reads a column of text.
func texts(ctx context.Context, from source, query string, args ...any) ([]string, error) {
	rows, err := from.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
