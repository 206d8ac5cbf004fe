package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var nodes = newTable(Nodes, "nodes", []string{"id"}, func(n *gestor.Node) []column {
	return []column{
		{"id", &n.ID},
		{"tenant_id", &n.TenantID},
		{"name", &n.Name},
		{"labels_json", &n.Labels},
		{"status", &n.Status},
		{"status_since", &n.StatusSince},
		{"draining", &n.Draining},
		{"spki", &n.SPKI},
		{"generation", &n.Generation},
		{"facts", &n.Facts},
		{"created_at", &n.CreatedAt},
		{"revision", &n.Revision},
	}
}).since(levelPeople, func(n *gestor.Node) []column {
	return []column{{"shared", &n.Shared}}
}).within(bounds{shared: "shared"})

var nodesByName = order[gestor.Node]{by: "name", key: func(n gestor.Node) cursor {
	return cursor{Text: n.Name, ID: string(n.ID)}
}}

// Node is a node.
func (v *View) Node(ctx context.Context, id gestor.NodeID) (gestor.Node, error) {
	return one(ctx, v, nodes, "node", " AND id = ?", string(id))
}

// NodeByName is the node with a name. Names are unique among the nodes of a tenant; of an own and a shared node of one
// name the own is meant, and of several shared ones the oldest. The system scope gets the oldest of any.
func (v *View) NodeByName(ctx context.Context, name string) (gestor.Node, error) {
	return one(ctx, v, nodes, "node", " AND name = ? ORDER BY tenant_id <> ?, created_at, id", name, string(v.scope.Tenant))
}

// OwnNodeByName is the node of a tenant with a name; a node that another tenant shares is none.
func (v *View) OwnNodeByName(ctx context.Context, tenant gestor.TenantID, name string) (gestor.Node, error) {
	return one(ctx, v, nodes, "node", " AND tenant_id = ? AND name = ?", string(tenant), name)
}

// Nodes are the nodes by name.
func (v *View) Nodes(ctx context.Context, page gestor.Page) ([]gestor.Node, string, error) {
	return list(ctx, v, nodes, nodesByName, page, "")
}

// AllNodes are all nodes by name, for loops and streams that need every one of them.
func (v *View) AllNodes(ctx context.Context) ([]gestor.Node, error) {
	return many(ctx, v, nodes, " ORDER BY name, id")
}

// CountNodes is how many nodes there are.
func (v *View) CountNodes(ctx context.Context) (int, error) {
	where, args := v.where(nodes.bounds)
	n, err := number(ctx, v.from, "SELECT count(*) FROM nodes "+where, args...)
	return int(n), err
}

// NodesChangedSince are the nodes that changed after a revision, in the order of their changes. Nodes that are gone
// are not among them.
func (v *View) NodesChangedSince(ctx context.Context, revision uint64) ([]gestor.Node, error) {
	return many(ctx, v, nodes, " AND revision > ? ORDER BY revision, id", int64(revision))
}

// PutNode writes a node.
func (x *Txn) PutNode(ctx context.Context, n gestor.Node) error {
	n.Revision = x.Revision
	return nodes.save(ctx, x, &n)
}

// DeleteNode removes a node.
func (x *Txn) DeleteNode(ctx context.Context, id gestor.NodeID) error {
	x.touch(Nodes)
	return x.exec(ctx, "DELETE FROM nodes WHERE id = ?", string(id))
}

type joinTokenRow struct {
	gestor.JoinToken
	revision uint64
}

var joinTokens = newTable(JoinTokens, "join_tokens", []string{"id"}, func(t *joinTokenRow) []column {
	return []column{
		{"id", &t.ID},
		{"tenant_id", &t.TenantID},
		{"secret_hash", &t.SecretHash},
		{"node_name", &t.NodeName},
		{"labels_json", &t.Labels},
		{"node_id", &t.NodeID},
		{"expires_at", &t.ExpiresAt},
		{"created_by", &t.CreatedBy},
		{"used_by", &t.UsedBy},
		{"revision", &t.revision},
	}
})

// JoinToken is a join token by its public part, used or expired or not.
func (v *View) JoinToken(ctx context.Context, id string) (gestor.JoinToken, error) {
	t, err := one(ctx, v, joinTokens, "join token", " AND id = ?", id)
	return t.JoinToken, err
}

// PutJoinToken writes a join token.
func (x *Txn) PutJoinToken(ctx context.Context, t gestor.JoinToken) error {
	return joinTokens.save(ctx, x, &joinTokenRow{t, x.Revision})
}

// PruneJoinTokens removes tokens that expired before a time.
func (x *Txn) PruneJoinTokens(ctx context.Context, before time.Time) error {
	x.touch(JoinTokens)
	return x.exec(ctx, "DELETE FROM join_tokens WHERE expires_at < ?", nanos(before))
}
