package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/scheduler"
)

var noon = time.Date(2026, 11, 23, 12, 30, 5, 0, time.UTC)

func node(id string) scheduler.Node {
	return scheduler.Node{ID: gestor.NodeID(id), TenantID: "ten_1", Name: id, Status: gestor.NodeConnected, Since: noon, CPUs: 2}
}

func build(id, app string, nodes ...gestor.NodeID) gestor.Task {
	return gestor.Task{
		ID: gestor.TaskID(id), TenantID: "ten_1", Kind: gestor.TaskBuild, AppID: gestor.AppID(app),
		Resource: "build/" + app, Candidates: nodes, Priority: gestor.PriorityBuild, CreatedAt: noon,
	}
}

func onNode(kind, id string, n gestor.NodeID) gestor.Task {
	return gestor.Task{
		ID: gestor.TaskID(id), TenantID: "ten_1", Kind: kind, AppID: "shop", Resource: "app/shop", NodeID: n, CreatedAt: noon,
	}
}

func held(t gestor.Task, n gestor.NodeID) gestor.Task {
	t.State, t.NodeID = gestor.TaskRunning, n
	return t
}

func TestNew_Explains(t *testing.T) {
	lost, draining, strict, other := node("web-1"), node("web-1"), node("web-1"), node("web-1")
	lost.Status, draining.Draining, strict.Forbidden, other.TenantID = gestor.NodeLost, true, []string{"build"}, "ten_2"
	later, again := build("tsk_1", "shop", "web-1"), build("tsk_1", "shop", "web-1")
	later.NotBefore, again.NotBefore, again.Attempt = noon.Add(time.Minute), noon.Add(time.Minute), 1
	for _, c := range []struct {
		name string
		task gestor.Task
		held []gestor.Task
		node scheduler.Node
		want string
	}{
		{"lost", build("tsk_1", "shop", "web-1"), nil, lost, "node web-1 is not connected since 12:30:05 UTC"},
		{"draining", build("tsk_1", "shop", "web-1"), nil, draining, "node web-1 is being drained"},
		{"policy", build("tsk_1", "shop", "web-1"), nil, strict, "the policy of node web-1 forbids build tasks"},
		{"foreign", build("tsk_1", "shop", "web-1"), nil, other, "node web-1 belongs to another tenant"},
		{"gone", build("tsk_1", "shop", "web-9"), nil, node("web-1"), "node web-9 is gone"},
		{"nowhere", build("tsk_1", "shop"), nil, node("web-1"), "no node may do this; add a node to the app"},
		{"delayed", later, nil, node("web-1"), "begins at 12:31:05 UTC"},
		{"retry", again, nil, node("web-1"), "next attempt at 12:31:05 UTC"},
		{"same app", build("tsk_1", "shop", "web-1"), []gestor.Task{held(build("tsk_0", "shop"), "web-1")}, node("web-1"), "waits for build 12 of shop on web-1"},
		{"full", build("tsk_1", "blog", "web-1"), []gestor.Task{held(build("tsk_0", "shop"), "web-1")}, node("web-1"), "node web-1 runs 1 build, which is its limit"},
		{"resource", onNode("switch", "tsk_1", "web-1"), []gestor.Task{held(onNode("retire", "tsk_2", "web-1"), "web-1")}, node("web-1"), "waits for retire of shop on web-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := scheduler.New(scheduler.Snapshot{
				Queued: []gestor.Task{c.task}, Held: c.held, Nodes: byID(c.node),
				Labels: map[gestor.TaskID]string{"tsk_0": "build 12 of shop"},
			}, noon)
			if len(plan.Leases) != 0 || plan.Waiting["tsk_1"] != c.want {
				t.Fatalf("leases %v, waiting %q, want %q", plan.Leases, plan.Waiting["tsk_1"], c.want)
			}
		})
	}
}

// byID is nodes as a snapshot has them.
func byID(nodes ...scheduler.Node) map[gestor.NodeID]scheduler.Node {
	out := map[gestor.NodeID]scheduler.Node{}
	for _, n := range nodes {
		out[n.ID] = n
	}
	return out
}

func TestNew_GivesTasksOfNoAppToAnyNodeThatIsFreeAndSpreadsThem(t *testing.T) {
	s := scheduler.Snapshot{Nodes: byID(node("web-1"), node("web-2"), node("web-3"))}
	for i := range 9 {
		s.Queued = append(s.Queued, gestor.Task{ID: gestor.TaskID(fmt.Sprint("tsk_", i)), TenantID: "ten_1", Kind: gestor.TaskDetect})
	}
	got := map[gestor.NodeID]int{}
	for _, l := range scheduler.New(s, noon).Leases {
		got[l.Node]++
	}
	if got["web-1"] != 3 || got["web-2"] != 3 || got["web-3"] != 3 {
		t.Fatalf("got %v", got)
	}
	s.Nodes = nil
	if why := scheduler.New(s, noon).Waiting["tsk_0"]; !strings.Contains(why, "no node") {
		t.Fatalf("without nodes it says %q", why)
	}
}

func TestNew_UsesSharedNodesOfOthersWhereTheyAreNamedOrNothingElseIsThere(t *testing.T) {
	shared, foreign, own := node("web-1"), node("web-2"), node("web-3")
	shared.TenantID, shared.Shared, foreign.TenantID = "ten_2", true, "ten_2"
	detect := gestor.Task{ID: "tsk_1", TenantID: "ten_1", Kind: gestor.TaskDetect, CreatedAt: noon}
	for name, c := range map[string]struct {
		task  gestor.Task
		nodes map[gestor.NodeID]scheduler.Node
		want  gestor.NodeID
	}{
		"named":          {build("tsk_1", "shop", "web-1"), byID(shared, foreign, own), "web-1"},
		"any, with own":  {detect, byID(shared, foreign, own), "web-3"},
		"any, none own":  {detect, byID(shared, foreign), "web-1"},
		"dedicated only": {detect, byID(foreign), ""},
	} {
		plan := scheduler.New(scheduler.Snapshot{Queued: []gestor.Task{c.task}, Nodes: c.nodes}, noon)
		got := gestor.NodeID("")
		if len(plan.Leases) == 1 {
			got = plan.Leases[0].Node
		}
		if got != c.want {
			t.Errorf("%s: the task goes to %q, want %q (%v)", name, got, c.want, plan.Waiting)
		}
	}
}

func TestNew_PrefersTheNodeWithTheFewestBuildsThenTheFirstListed(t *testing.T) {
	big1, big2, big3 := node("web-1"), node("web-2"), node("web-3")
	big1.CPUs, big2.CPUs, big3.CPUs = 8, 8, 8
	plan := scheduler.New(scheduler.Snapshot{
		Queued: []gestor.Task{build("tsk_1", "a", "web-1", "web-3", "web-2"), build("tsk_2", "b", "web-1", "web-2", "web-3")},
		Held:   []gestor.Task{held(build("tsk_0", "c"), "web-1")},
		Nodes:  byID(big1, big2, big3),
	}, noon)
	if len(plan.Leases) != 2 || plan.Leases[0].Node != "web-3" || plan.Leases[1].Node != "web-2" {
		t.Fatalf("leases = %v", plan.Leases)
	}
}

func TestNew_BuildAndSwitchOfOneAppDoNotExcludeEachOther(t *testing.T) {
	plan := scheduler.New(scheduler.Snapshot{
		Queued: []gestor.Task{build("tsk_1", "shop", "web-1"), onNode("switch", "tsk_2", "web-1")},
		Nodes:  byID(node("web-1")),
	}, noon)
	if len(plan.Leases) != 2 {
		t.Fatalf("leases = %v, waiting = %v", plan.Leases, plan.Waiting)
	}
}

func TestNew_DrainingNodeFinishesWhatItHas(t *testing.T) {
	n := node("web-1")
	n.Draining = true
	for kind, want := range map[string]int{"switch": 1, "watch": 1, "retire": 1, "remove": 1, "prepare": 0} {
		plan := scheduler.New(scheduler.Snapshot{Queued: []gestor.Task{onNode(kind, "tsk_1", "web-1")}, Nodes: byID(n)}, noon)
		if len(plan.Leases) != want {
			t.Errorf("%s: %d leases, want %d", kind, len(plan.Leases), want)
		}
	}
}

func TestNew_HigherPriorityTakesTheResourceFirst(t *testing.T) {
	old, urgent := onNode("retire", "tsk_1", "web-1"), onNode("switch", "tsk_2", "web-1")
	old.CreatedAt, urgent.Priority = noon.Add(-time.Hour), gestor.PriorityRevert
	plan := scheduler.New(scheduler.Snapshot{Queued: []gestor.Task{old, urgent}, Nodes: byID(node("web-1"))}, noon)
	if len(plan.Leases) != 1 || plan.Leases[0].Task != "tsk_2" {
		t.Fatalf("leases = %v", plan.Leases)
	}
}

func TestNew_TellsWhenTheNextTaskMayGo(t *testing.T) {
	a, b := build("tsk_1", "a", "web-1"), build("tsk_2", "b", "web-1")
	a.NotBefore, b.NotBefore = noon.Add(time.Minute), noon.Add(time.Second)
	plan := scheduler.New(scheduler.Snapshot{Queued: []gestor.Task{a, b}, Nodes: byID(node("web-1"))}, noon)
	if !plan.Next.Equal(noon.Add(time.Second)) {
		t.Fatalf("next = %v", plan.Next)
	}
}
