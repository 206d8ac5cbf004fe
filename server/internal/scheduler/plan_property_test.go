package scheduler_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/scheduler"
)

var kinds = []string{
	gestor.TaskDetect, gestor.TaskBuild, gestor.TaskPrepare, gestor.TaskSwitch, gestor.TaskWatch, gestor.TaskRetire, gestor.TaskRemove,
}

func drawSnapshot(t *rapid.T) scheduler.Snapshot {
	s := scheduler.Snapshot{Limits: scheduler.Limits{
		NodeTasks:   rapid.IntRange(1, 4).Draw(t, "node tasks"),
		TenantTasks: rapid.IntRange(1, 12).Draw(t, "tenant tasks"),
	}}
	var nodes []scheduler.Node
	for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
		nodes = append(nodes, scheduler.Node{
			ID: gestor.NodeID(fmt.Sprintf("nod_%d", i)), TenantID: "ten_1", Name: fmt.Sprintf("web-%d", i),
			Status:   rapid.SampledFrom([]gestor.NodeStatus{gestor.NodeConnected, gestor.NodeConnected, gestor.NodeSuspect, gestor.NodeLost, gestor.NodeEnrolled}).Draw(t, "status"),
			Draining: rapid.IntRange(0, 4).Draw(t, "draining") == 0,
			CPUs:     rapid.IntRange(1, 6).Draw(t, "cpus"),
		})
	}
	s.Nodes = byID(nodes...)
	for i := range rapid.IntRange(0, 25).Draw(t, "tasks") {
		s.Queued = append(s.Queued, drawTask(t, i, nodes))
	}
	return s
}

func drawTask(t *rapid.T, i int, nodes []scheduler.Node) gestor.Task {
	app := rapid.IntRange(1, 3).Draw(t, "app")
	task := gestor.Task{
		ID: gestor.TaskID(fmt.Sprintf("tsk_%02d", i)), TenantID: "ten_1", State: gestor.TaskQueued,
		Kind:      rapid.SampledFrom(kinds).Draw(t, "kind"),
		AppID:     gestor.AppID(fmt.Sprintf("app_%d", app)),
		Priority:  rapid.SampledFrom([]int{0, 50, 100, 200}).Draw(t, "priority"),
		CreatedAt: noon.Add(time.Duration(rapid.IntRange(-100, 0).Draw(t, "age")) * time.Second),
	}
	if rapid.IntRange(0, 5).Draw(t, "later") == 0 {
		task.NotBefore = noon.Add(time.Minute)
	}
	task.Resource = fmt.Sprintf("app/app-%d", app)
	if task.Kind == gestor.TaskBuild {
		task.Resource = fmt.Sprintf("build/app-%d", app)
	}
	if task.Kind == gestor.TaskDetect {
		task.Resource, task.AppID = "", ""
	}
	if rapid.Bool().Draw(t, "any") {
		for _, n := range nodes {
			task.Candidates = append(task.Candidates, n.ID)
		}
		return task
	}
	task.NodeID = rapid.SampledFrom(nodes).Draw(t, "node").ID
	return task
}

// run plays a plan: what it leases becomes held.
func run(s scheduler.Snapshot, p scheduler.Plan) scheduler.Snapshot {
	for _, l := range p.Leases {
		i := slices.IndexFunc(s.Queued, func(t gestor.Task) bool { return t.ID == l.Task })
		task := s.Queued[i]
		task.State, task.NodeID = gestor.TaskLeased, l.Node
		s.Held = append(s.Held, task)
		s.Queued = slices.Delete(slices.Clone(s.Queued), i, i+1)
	}
	return s
}

func TestNew_KeepsEveryLimitAndExplainsTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawSnapshot(t)
		plan := scheduler.New(before, noon)
		if len(plan.Leases)+len(plan.Waiting) != len(before.Queued) {
			t.Fatalf("%d leased and %d explained of %d queued", len(plan.Leases), len(plan.Waiting), len(before.Queued))
		}
		for id, why := range plan.Waiting {
			if why == "" {
				t.Fatalf("task %s waits without a reason", id)
			}
		}
		checkHeld(t, run(before, plan))
	})
}

func checkHeld(t *rapid.T, s scheduler.Snapshot) {
	nodes := s.Nodes
	resources, builds, others, apps := map[string]bool{}, map[gestor.NodeID]int{}, map[gestor.NodeID]int{}, map[gestor.AppID]int{}
	for _, task := range s.Held {
		n := nodes[task.NodeID]
		if n.Status != gestor.NodeConnected {
			t.Fatalf("%s was leased to %s, which is %s", task.ID, n.ID, n.Status)
		}
		if n.Draining && (task.Kind == gestor.TaskBuild || task.Kind == gestor.TaskPrepare) {
			t.Fatalf("new %s on draining %s", task.Kind, n.ID)
		}
		if task.NotBefore.After(noon) {
			t.Fatalf("%s was leased before its time", task.ID)
		}
		key := string(task.NodeID) + " " + scheduler.Resource(task)
		if resources[key] {
			t.Fatalf("two tasks hold %s", key)
		}
		resources[key] = true
		if task.Kind == gestor.TaskBuild {
			builds[task.NodeID]++
			apps[task.AppID]++
		} else {
			others[task.NodeID]++
		}
	}
	for id, n := range builds {
		if n > max(1, nodes[id].CPUs/2) {
			t.Fatalf("%d builds on %s", n, id)
		}
	}
	for id, n := range others {
		if n > s.Limits.NodeTasks {
			t.Fatalf("%d tasks on %s", n, id)
		}
	}
	for id, n := range apps {
		if n > 1 {
			t.Fatalf("%d builds of %s at once", n, id)
		}
	}
	if len(s.Held) > s.Limits.TenantTasks {
		t.Fatalf("%d tasks of one tenant", len(s.Held))
	}
}

func TestNew_LeavesNothingThatCouldRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		after := run(s, scheduler.New(s, noon))
		if again := scheduler.New(after, noon); len(again.Leases) != 0 {
			t.Fatalf("a second plan still leases %v", again.Leases)
		}
		for _, task := range after.Queued {
			alone := after
			alone.Held, alone.Queued = nil, []gestor.Task{task}
			leased := len(scheduler.New(alone, noon).Leases) == 1
			if want := reachable(task, s.Nodes); leased != want {
				t.Fatalf("alone on the nodes, task %+v: leased %v, want %v", task, leased, want)
			}
		}
	})
}

// reachable says by itself whether some node may take the task when nothing else runs.
func reachable(task gestor.Task, nodes map[gestor.NodeID]scheduler.Node) bool {
	if task.NotBefore.After(noon) {
		return false
	}
	stays := slices.Contains([]string{"switch", "watch", "retire", "remove"}, task.Kind)
	return slices.ContainsFunc(slices.Collect(maps.Values(nodes)), func(n scheduler.Node) bool {
		may := task.NodeID == n.ID || slices.Contains(task.Candidates, n.ID)
		return may && n.Status == gestor.NodeConnected && (!n.Draining || stays)
	})
}

func TestNew_DependsOnNothingButTheSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		shuffled := s
		shuffled.Queued = rapid.Permutation(s.Queued).Draw(t, "order")
		a, b := scheduler.New(s, noon), scheduler.New(shuffled, noon)
		if !slices.Equal(a.Leases, b.Leases) {
			t.Fatalf("the order of the queue changed the plan: %v, %v", a.Leases, b.Leases)
		}
	})
}
