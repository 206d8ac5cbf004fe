package state

import (
	"context"
	"fmt"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const changed = " AND revision > ? ORDER BY revision, id"

// TasksChangedSince are the tasks that changed after a revision, in the order of their changes. Tasks that are gone are
// not among them; only those that have ended are ever removed.
func (v *View) TasksChangedSince(ctx context.Context, revision uint64) ([]gestor.Task, error) {
	return many(ctx, v, tasks, changed, int64(revision))
}

// NodeIDs are the ids of all nodes.
func (v *View) NodeIDs(ctx context.Context) (map[gestor.NodeID]bool, error) {
	where, args := v.where(nodes.bounds)
	rows, err := v.from.query(ctx, "SELECT id\nFROM nodes\n"+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read the nodes' ids: %w", err)
	}
	defer rows.Close()
	ids := map[gestor.NodeID]bool{}
	for rows.Next() {
		var id gestor.NodeID
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read the nodes' ids: %w", err)
		}
		ids[id] = true
	}
	return ids, rows.Err()
}
