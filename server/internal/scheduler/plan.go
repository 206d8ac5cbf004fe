package scheduler

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// New makes a plan for the snapshot at the time now.
func New(s Snapshot, now time.Time) Plan {
	b := newBoard(s)
	plan := Plan{Waiting: map[gestor.TaskID]string{}}
	for _, t := range inOrder(s.Queued) {
		if t.Due(now).After(now) {
			plan.Waiting[t.ID] = notYet(t)
			plan.Next = earliest(plan.Next, t.NotBefore)
			continue
		}
		lease, why := b.place(t)
		if why != "" {
			plan.Waiting[t.ID] = why
			continue
		}
		b.hold(t, lease.Node)
		plan.Leases = append(plan.Leases, lease)
	}
	return plan
}

// inOrder sorts by priority, then age; the id breaks ties so that a plan depends on nothing but its snapshot.
func inOrder(tasks []gestor.Task) []gestor.Task {
	tasks = slices.Clone(tasks)
	slices.SortFunc(tasks, func(a, b gestor.Task) int {
		return cmp.Or(
			cmp.Compare(b.Priority, a.Priority),
			a.CreatedAt.Compare(b.CreatedAt),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return tasks
}

// place finds the best node for t, or says why there is none.
func (b *board) place(t gestor.Task) (Lease, string) {
	if why := b.overall(t); why != "" {
		return Lease{}, why
	}
	nodes := candidates(t)
	if len(nodes) == 0 && !t.Anywhere() {
		return Lease{}, "no node may do this; add a node to the app"
	}
	if len(nodes) == 0 {
		if nodes = b.anyOf(t); len(nodes) == 0 {
			return Lease{}, "there is no node to do this; add one: gestor nodes join-command <name>"
		}
	}
	var best Node
	var found bool
	var obstacles []string
	for _, id := range nodes {
		n, ok := b.nodes[id]
		if !ok {
			obstacles = append(obstacles, fmt.Sprintf("node %s is gone", id))
			continue
		}
		if why := b.obstacle(t, n); why != "" {
			obstacles = append(obstacles, why)
			continue
		}
		if !found || b.load(t, n) < b.load(t, best) {
			best, found = n, true
		}
		if b.load(t, best) == 0 {
			break // none can be better, and the list is in order of preference
		}
	}
	if !found {
		return Lease{}, summary(obstacles)
	}
	return Lease{Task: t.ID, Node: best.ID, Reason: reason(len(nodes), best)}, ""
}

// load is what counts against a node for t: builds for all, and other tasks where any node would do.
func (b *board) load(t gestor.Task, n Node) int {
	if len(candidates(t)) > 0 {
		return b.builds[n.ID]
	}
	return b.builds[n.ID] + b.others[n.ID]
}

// anyOf are all nodes of the task's tenant, or, if it has none, those that are shared, beginning at a place that depends on
// the task, so that tasks spread.
func (b *board) anyOf(t gestor.Task) []gestor.NodeID {
	all, ok := b.all[t.TenantID]
	if !ok {
		all = b.nodesThat(func(n Node) bool { return n.TenantID == t.TenantID })
		if len(all) == 0 {
			all = b.nodesThat(func(n Node) bool { return n.Shared })
		}
		all = append(all, all...) // twice, so that every place has a whole round behind it
		b.all[t.TenantID] = all
	}
	if len(all) == 0 {
		return nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.ID)) // a hash takes all
	half := len(all) / 2
	start := int(h.Sum32() % uint32(half))
	return all[start : start+half]
}

func (b *board) nodesThat(fit func(Node) bool) []gestor.NodeID {
	var ids []gestor.NodeID
	for id, n := range b.nodes {
		if fit(n) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// candidates are the nodes t may go to, best first; none if any
// will do. The list goes before the node, because a task that was taken
// from a node may still name it.
func candidates(t gestor.Task) []gestor.NodeID {
	if len(t.Candidates) > 0 {
		return t.Candidates
	}
	if t.NodeID != "" {
		return []gestor.NodeID{t.NodeID}
	}
	return nil
}

func reason(choice int, n Node) string {
	if choice == 1 {
		return "only " + n.Name + " may do it"
	}
	return n.Name + " has the fewest builds"
}

// summary joins obstacles; people read the first few.
func summary(obstacles []string) string {
	const most = 3
	if more := len(obstacles) - most; more > 0 {
		return fmt.Sprintf("%s; and %d more nodes cannot take it", strings.Join(obstacles[:most], "; "), more)
	}
	return strings.Join(obstacles, "; ")
}

func notYet(t gestor.Task) string {
	at := t.NotBefore.UTC().Format("15:04:05 UTC")
	if t.Attempt == 0 {
		return "begins at " + at
	}
	return "next attempt at " + at
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
