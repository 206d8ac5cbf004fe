package state

import (
	"strings"
	"testing"
)

// The loops of the leader read these after every commit; none of them may get slower as the history grows.
func TestTasksUnderWay_AreFoundWithoutWalkingTheHistory(t *testing.T) {
	s := newStore(t)
	const queue = " AND state = 'queued' ORDER BY priority DESC, created_at, id"
	for rest, index := range map[string]string{
		held:     "tasks_held",
		heldOf:   "tasks_held",
		queuedOf: "tasks_queued",
		queue:    "tasks_queued",
		changed:  "tasks_revision",
	} {
		rows, err := s.query(t.Context(), "EXPLAIN QUERY PLAN "+tasks.at(s.level()).sel+"\nWHERE 1 = 1"+rest, make([]any, strings.Count(rest, "?"))...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var plan strings.Builder
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			plan.WriteString(step + "; ")
		}
		if err := rows.Err(); err != nil || !strings.Contains(plan.String(), index) {
			t.Errorf("%s\nis read by %q, want index %s (%v)", rest, plan.String(), index, err)
		}
	}
}
