package nodes_test

import (
	"slices"
	"testing"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestSession_HeartbeatsRenewLeasesAndKeepTheLoadInMemory(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Hang)
	task := s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	eventually(t, "a renewed lease", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Contains(s.renewed, nodes.Held{Task: "tsk_1", Fence: task.Fence})
	})
	eventually(t, "the load", func() bool {
		return s.svc.Loads(t.Context(), []gestor.NodeID{a.Node})[a.Node].GetTasks() == 1
	})
	before, err := s.View(gestor.SystemScope()).Node(t.Context(), a.Node)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	heard := len(s.renewed)
	s.mu.Unlock()
	eventually(t, "more heartbeats", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.renewed) > heard+3
	})
	after, err := s.View(gestor.SystemScope()).Node(t.Context(), a.Node)
	if err != nil || after.Revision != before.Revision {
		t.Fatalf("heartbeats changed the state: %d, %d, %v", before.Revision, after.Revision, err)
	}
}

func TestPresence_BrokenStreamIsSuspectAtOnceThenLost(t *testing.T) {
	s := newSystem(t)
	a, stop := s.agent("web-1", nodestest.Succeed)
	s.awaitStatus(a.Node, gestor.NodeConnected)
	stop()
	s.awaitStatus(a.Node, gestor.NodeSuspect)
	s.awaitStatus(a.Node, gestor.NodeLost)
	a.Start(t)
	s.awaitStatus(a.Node, gestor.NodeConnected)
}

func TestPresence_SilentAgentIsSuspectThenLost(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	s.raw(node) // says hello and nothing more
	s.awaitStatus(node, gestor.NodeConnected)
	s.awaitStatus(node, gestor.NodeSuspect)
	s.awaitStatus(node, gestor.NodeLost)
	eventually(t, "the session to end", func() bool { return !s.svc.Connected(node) })
}

func TestRunTerm_GivesNodesOfTheLeaderBeforeTimeToComeBack(t *testing.T) {
	s := newSystem(t)
	s.depose()
	gone, back := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	s.Must(t, command.SetNodeStatus{ID: gone, Status: gestor.NodeConnected})
	s.Must(t, command.SetNodeStatus{ID: back, Status: gestor.NodeConnected})
	s.run(s.svc.RunTerm)
	a := &nodestest.FakeAgent{Node: back, Client: nodestest.NewClient(t, s.url, back), Work: nodestest.Succeed, Beat: 50 * time.Millisecond}
	a.Start(t)
	s.awaitStatus(gone, gestor.NodeLost)
	s.awaitStatus(back, gestor.NodeConnected)
}
