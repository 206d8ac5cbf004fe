package dispatch

import (
	"cmp"
	"context"
	"slices"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/scheduler"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// memory is what the scheduler decides on, kept up with the state by what changed since the last look: with ten
// thousand nodes, reading all of them for every task would be most of the work.
type memory struct {
	engine Engine

	active map[gestor.TaskID]gestor.Task // queued or held
	labels map[gestor.TaskID]string      // of builds that are held
	nodes  map[gestor.NodeID]scheduler.Node

	tasksAt uint64 // everything up to this revision is in active
	nodesAt uint64 // and this one in nodes
}

func newMemory(e Engine) *memory {
	return &memory{
		engine: e, active: map[gestor.TaskID]gestor.Task{}, labels: map[gestor.TaskID]string{}, nodes: map[gestor.NodeID]scheduler.Node{},
	}
}

// refresh takes in what changed; nodes tells whether any node did.
func (m *memory) refresh(ctx context.Context, nodes bool) error {
	view := m.engine.View(gestor.SystemScope())
	if m.tasksAt == 0 {
		return m.load(ctx, view)
	}
	tasks, err := view.TasksChangedSince(ctx, m.tasksAt)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		m.take(t)
		m.tasksAt = max(m.tasksAt, t.Revision)
	}
	if !nodes {
		return nil
	}
	return m.refreshNodes(ctx, view)
}

// load reads what is active, once: ended tasks may be many. The newest revision is read before the tasks, so that what
// changes in between is read twice instead of never.
func (m *memory) load(ctx context.Context, view *state.View) error {
	at, err := view.LastTaskRevision(ctx)
	if err != nil {
		return err
	}
	queued, err := view.QueuedTasks(ctx)
	if err != nil {
		return err
	}
	held, err := view.HeldTasks(ctx, "")
	if err != nil {
		return err
	}
	for _, t := range append(queued, held...) {
		m.take(t)
	}
	m.tasksAt = at
	return m.refreshNodes(ctx, view)
}

func (m *memory) take(t gestor.Task) {
	if t.State.Ended() {
		delete(m.active, t.ID)
		delete(m.labels, t.ID)
		return
	}
	if label := buildLabel(t); label != "" {
		m.labels[t.ID] = label
	}
	m.active[t.ID] = t
}

// refreshNodes takes in nodes that changed and drops those that are gone, of which no change tells.
func (m *memory) refreshNodes(ctx context.Context, view *state.View) error {
	changed, err := view.NodesChangedSince(ctx, m.nodesAt)
	if err != nil {
		return err
	}
	for _, n := range changed {
		m.nodes[n.ID] = node(n)
		m.nodesAt = max(m.nodesAt, n.Revision)
	}
	n, err := view.CountNodes(ctx)
	if err != nil || n == len(m.nodes) {
		return err
	}
	ids, err := view.NodeIDs(ctx)
	if err != nil {
		return err
	}
	for id := range m.nodes {
		if !ids[id] {
			delete(m.nodes, id)
		}
	}
	return nil
}

// snapshot is what the scheduler decides on. Held tasks are the oldest first, as reasons name the first of them.
func (m *memory) snapshot(limits scheduler.Limits) scheduler.Snapshot {
	s := scheduler.Snapshot{Nodes: m.nodes, Labels: m.labels, Limits: limits}
	for _, t := range m.active {
		if t.State.Held() {
			s.Held = append(s.Held, t)
		} else {
			s.Queued = append(s.Queued, t)
		}
	}
	slices.SortFunc(s.Held, func(a, b gestor.Task) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	return s
}
