package state

import (
	"context"
	"fmt"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// TaskCounts is how many tasks are in each state. It reads the whole table: once in a while, not per call.
func (v *View) TaskCounts(ctx context.Context) (map[gestor.TaskState]int, error) {
	where, args := v.where(bounds{app: "app_id"})
	rows, err := v.from.query(ctx, "SELECT state, COUNT(*)\nFROM tasks\n"+where+"\nGROUP BY state", args...)
	if err != nil {
		return nil, fmt.Errorf("count tasks: %w", err)
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed already
	out := map[gestor.TaskState]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return nil, fmt.Errorf("count tasks: %w", err)
		}
		out[gestor.TaskState(state)] = n
	}
	return out, rows.Err()
}
