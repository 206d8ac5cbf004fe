package scheduler

import (
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Snapshot is all a plan depends on.
type Snapshot struct {
	Queued []gestor.Task
	Held   []gestor.Task // leased or running
	Nodes  map[gestor.NodeID]Node
	Labels map[gestor.TaskID]string // how reasons name a task, "build 12 of shop"; optional
	Limits Limits
}

// Node is a node as the scheduler sees it.
type Node struct {
	ID        gestor.NodeID
	TenantID  gestor.TenantID
	Shared    bool // every tenant's tasks may go there
	Name      string
	Status    gestor.NodeStatus
	Since     time.Time // of the status
	Draining  bool
	CPUs      int
	Forbidden []string // task kinds that the host's own policy refuses
}

// Limits bound what runs at once. A zero means the default.
type Limits struct {
	NodeBuilds  int // builds per node; default half its processors, at least 1
	NodeTasks   int // tasks of other kinds per node; default 8
	AppBuilds   int // builds per app; default 1
	TenantTasks int // tasks of any kind per tenant; default 256
}

// Plan is what to do now.
type Plan struct {
	Leases  []Lease
	Waiting map[gestor.TaskID]string // why each other queued task waits, a sentence for people
	Next    time.Time                // when the earliest task that waits for its time may go; zero if none does
}

// Lease gives a task to a node.
type Lease struct {
	Task   gestor.TaskID
	Node   gestor.NodeID
	Reason string // why this node
}

func (l Limits) builds(n Node) int {
	if l.NodeBuilds > 0 {
		return l.NodeBuilds
	}
	return max(1, n.CPUs/2)
}

func (l Limits) tasks() int { return orDefault(l.NodeTasks, 8) }

func (l Limits) appBuilds() int { return orDefault(l.AppBuilds, 1) }

func (l Limits) tenantTasks() int { return orDefault(l.TenantTasks, 256) }

func orDefault(n, or int) int {
	if n > 0 {
		return n
	}
	return or
}
