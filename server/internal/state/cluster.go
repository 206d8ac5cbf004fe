package state

import (
	"context"
	"fmt"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

type clusterRow struct {
	gestor.Cluster
	revision uint64
}

var clusters = newTable(Cluster, "cluster", []string{"id"}, func(c *clusterRow) []column {
	return []column{
		{"id", &c.ID},
		{"claimed", &c.Claimed},
		{"setup_hash", &c.SetupHash},
		{"server_root", &c.ServerRoot},
		{"server_root_key", &c.ServerRootKey},
		{"agent_root", &c.AgentRoot},
		{"agent_root_key", &c.AgentRootKey},
		{"first_uid", &c.FirstUID},
		{"revision", &c.revision},
	}
})

// Cluster is the identity of the installation, for the system scope only; not found before the first start is done.
func (v *View) Cluster(ctx context.Context) (gestor.Cluster, error) {
	if !v.scope.IsSystem() {
		return gestor.Cluster{}, fault.NotFound("there is no such cluster")
	}
	c, err := one(ctx, v, clusters, "cluster", "")
	return c.Cluster, err
}

// PutCluster writes the identity.
func (x *Txn) PutCluster(ctx context.Context, c gestor.Cluster) error {
	return clusters.save(ctx, x, &clusterRow{c, x.Revision})
}

const setNextUID = `
UPDATE meta
SET next_uid = ?
WHERE id = 1`

// SetNextUID says where TakeUID begins.
func (x *Txn) SetNextUID(ctx context.Context, uid uint32) error {
	return x.exec(ctx, setNextUID, uid)
}

const takeNumber = `
UPDATE meta
SET next_uid = next_uid + 1
WHERE id = 1
RETURNING next_uid - 1`

// TakeUID gives the next uid of an app's system user. None is given twice.
func (x *Txn) TakeUID(ctx context.Context) (uint32, error) {
	n, err := x.number(ctx, takeNumber)
	return uint32(n), err
}

const lastApplied = `
SELECT applied
FROM meta
WHERE id = 1`

// Applied is the last Raft index that is in the committed state.
func (s *Store) Applied(ctx context.Context) (uint64, error) {
	n, err := number(ctx, s, lastApplied)
	return uint64(n), err
}

func (x *Txn) number(ctx context.Context, query string, args ...any) (int64, error) {
	return number(ctx, x, query, args...)
}

// number reads the one number a statement returns.
func number(ctx context.Context, from source, query string, args ...any) (int64, error) {
	rows, err := from.query(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var n int64
	if !rows.Next() {
		return 0, fmt.Errorf("no number: %w", rows.Err())
	}
	if err := rows.Scan(&n); err != nil {
		return 0, err
	}
	return n, rows.Err()
}
