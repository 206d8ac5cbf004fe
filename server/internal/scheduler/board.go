package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// board counts what is held, including what the plan has leased so far.
type board struct {
	limits  Limits
	labels  map[gestor.TaskID]string
	nodes   map[gestor.NodeID]Node
	all     map[gestor.TenantID][]gestor.NodeID // by id; made when a task first asks for any node
	held    map[place]gestor.Task               // by node and resource
	builds  map[gestor.NodeID]int
	others  map[gestor.NodeID]int
	byApp   map[gestor.AppID][]gestor.Task // builds
	tenants map[gestor.TenantID]int
}

type place struct {
	node     gestor.NodeID
	resource string
}

func newBoard(s Snapshot) *board {
	b := &board{
		limits:  s.Limits,
		labels:  s.Labels,
		nodes:   s.Nodes,
		all:     map[gestor.TenantID][]gestor.NodeID{},
		held:    make(map[place]gestor.Task, len(s.Held)),
		builds:  map[gestor.NodeID]int{},
		others:  map[gestor.NodeID]int{},
		byApp:   map[gestor.AppID][]gestor.Task{},
		tenants: map[gestor.TenantID]int{},
	}
	for _, t := range s.Held {
		b.hold(t, t.NodeID)
	}
	return b
}

func (b *board) hold(t gestor.Task, node gestor.NodeID) {
	t.NodeID = node
	b.held[place{node, Resource(t)}] = t
	b.tenants[t.TenantID]++
	if t.Kind != gestor.TaskBuild {
		b.others[node]++
		return
	}
	b.builds[node]++
	if t.AppID != "" {
		b.byApp[t.AppID] = append(b.byApp[t.AppID], t)
	}
}

// Resource is what t has an effect on; a task without one excludes only itself.
func Resource(t gestor.Task) string {
	if t.Resource != "" {
		return t.Resource
	}
	return "task/" + string(t.ID)
}

// overall says what keeps t from every node.
func (b *board) overall(t gestor.Task) string {
	if n := b.limits.tenantTasks(); b.tenants[t.TenantID] >= n {
		return fmt.Sprintf("%d tasks of this tenant are under way, which is its limit", n)
	}
	if t.Kind != gestor.TaskBuild || t.AppID == "" {
		return ""
	}
	if running := b.byApp[t.AppID]; len(running) >= b.limits.appBuilds() {
		return "waits for " + b.describe(running[0])
	}
	return ""
}

// obstacle says what keeps t from n; empty if nothing does.
func (b *board) obstacle(t gestor.Task, n Node) string {
	switch {
	case n.TenantID != t.TenantID && !n.Shared:
		return fmt.Sprintf("node %s belongs to another tenant", n.ID)
	case n.Status == gestor.NodeEnrolled:
		return fmt.Sprintf("node %s has never connected", n.Name)
	case n.Status != gestor.NodeConnected:
		return fmt.Sprintf("node %s is not connected since %s", n.Name, n.Since.UTC().Format("15:04:05 UTC"))
	case n.Draining && !mayDrain(t):
		return fmt.Sprintf("node %s is being drained", n.Name)
	case slices.Contains(n.Forbidden, t.Kind):
		return fmt.Sprintf("the policy of node %s forbids %s tasks", n.Name, t.Kind)
	}
	if other, taken := b.held[place{n.ID, Resource(t)}]; taken {
		return "waits for " + b.describe(other)
	}
	return b.full(t, n)
}

func (b *board) full(t gestor.Task, n Node) string {
	if t.Kind == gestor.TaskBuild {
		if limit := b.limits.builds(n); b.builds[n.ID] >= limit {
			return fmt.Sprintf("node %s runs %s, which is its limit", n.Name, plural(limit, "build"))
		}
		return ""
	}
	if limit := b.limits.tasks(); b.others[n.ID] >= limit {
		return fmt.Sprintf("node %s runs %s, which is its limit", n.Name, plural(limit, "task"))
	}
	return ""
}

// mayDrain reports whether t concerns what is on a node already, so that draining must not stop it.
func mayDrain(t gestor.Task) bool {
	switch t.Kind {
	case gestor.TaskSwitch, gestor.TaskWatch, gestor.TaskRetire, gestor.TaskRemove:
		return true
	}
	return false
}

// describe names a held task: "build 12 of shop on web-1".
func (b *board) describe(t gestor.Task) string {
	label := b.labels[t.ID]
	if label == "" {
		label = Label(t)
	}
	if n, ok := b.nodes[t.NodeID]; ok {
		label += " on " + n.Name
	}
	return label
}

// Label names a task by its kind and, where its resource tells, its app.
func Label(t gestor.Task) string {
	if kind, slug, ok := strings.Cut(t.Resource, "/"); ok && kind != "task" {
		return t.Kind + " of " + slug
	}
	return "another " + t.Kind
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
