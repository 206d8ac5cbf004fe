package nodes_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestServers_TheLeaderRenewsAndRecordsForAll(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b")
	node := w.addNode("web-1")
	_, stop := w.agent("srv_b", node)
	held := w.lease("tsk_1", node)
	eventually(t, "renewals", func() bool { return w.servers["srv_a"].leases.count(held) > 3 })
	if n := w.servers["srv_b"].leases.count(held); n != 0 {
		t.Fatalf("a server that does not lead renewed %d times", n)
	}
	stop()
	w.await(node, gestor.NodeSuspect)
	w.await(node, gestor.NodeLost)
	w.agent("srv_a", node)
	w.await(node, gestor.NodeConnected)
}

func TestServers_NewerSessionElsewhereEndsTheOlderAndTheNodeStaysConnected(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b")
	node := w.addNode("web-1")
	old, _ := w.agent("srv_a", node)
	w.await(node, gestor.NodeConnected)
	w.never(node, gestor.NodeLost, func() {
		w.agent("srv_b", node)
		eventually(t, "the goodbye", func() bool { return slices.Equal(old.Goodbyes(), []string{"another session of this node began"}) })
		eventually(t, "the end of the older", func() bool { return !w.servers["srv_a"].svc.Connected(node) })
	})
	if !w.servers["srv_b"].svc.Connected(node) {
		t.Fatal("the newer session ended, too")
	}
	w.await(node, gestor.NodeConnected)
}

func TestServers_NodesOfACutOffServerAreLostAndWelcomeElsewhere(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b")
	one, two := w.addNode("web-1"), w.addNode("web-2")
	first, _ := w.agent("srv_b", one)
	w.agent("srv_b", two)
	w.isolate("srv_b", true)
	eventually(t, "the goodbye", func() bool {
		return slices.Equal(first.Goodbyes(), []string{"this server has lost touch with the others"})
	})
	w.await(one, gestor.NodeSuspect)
	w.agent("srv_a", one)
	w.await(two, gestor.NodeLost)
	w.await(one, gestor.NodeConnected)
	stream, err := nodestest.NewClient(t, w.servers["srv_b"].url, two).Session(t.Context())
	if err == nil {
		_, err = stream.Receive()
	}
	if err == nil || !strings.Contains(err.Error(), "lost touch") {
		t.Fatalf("the server that is cut off answered %v", err)
	}
	w.isolate("srv_b", false)
	eventually(t, "a welcome", func() bool {
		stream, err := nodestest.NewClient(t, w.servers["srv_b"].url, two).Session(t.Context())
		if err == nil {
			_, err = stream.Receive()
		}
		return err == nil
	})
}

func TestServers_ChangeOfLeaderDisturbsNoNode(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b")
	one, two := w.addNode("web-1"), w.addNode("web-2")
	w.agent("srv_a", one)
	w.agent("srv_b", two)
	held := w.lease("tsk_1", two)
	eventually(t, "renewals", func() bool { return w.servers["srv_a"].leases.count(held) > 0 })
	w.never(one, gestor.NodeSuspect, func() {
		w.never(two, gestor.NodeSuspect, func() {
			w.lead("srv_b")
			eventually(t, "renewals by the new leader", func() bool { return w.servers["srv_b"].leases.count(held) > 20 })
		})
	})
	_, stop := w.agent("srv_a", w.addNode("web-3"))
	w.await("nod_web-3", gestor.NodeConnected)
	stop()
	w.await("nod_web-3", gestor.NodeSuspect)
}

func TestServers_LoadsAndTailsReachNodesOfOtherServers(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b", "srv_c")
	node := w.addNode("web-1")
	w.agent("srv_b", node)
	w.lease("tsk_1", node)
	for _, id := range []string{"srv_a", "srv_b", "srv_c"} {
		eventually(t, "the load at "+id, func() bool {
			return w.servers[id].svc.Loads(t.Context(), []gestor.NodeID{node, "nod_none"})[node].GetTasks() == 1
		})
	}
	tailed := w.addNode("web-2")
	r := (&system{t: t, url: w.servers["srv_b"].url}).raw(tailed)
	eventually(t, "the session", func() bool { return w.servers["srv_b"].svc.Connected(tailed) })
	ctx, leave := context.WithCancel(t.Context())
	lines, err := w.servers["srv_c"].svc.OpenTail(ctx, tailed, "shop", 10, true)
	if err != nil {
		t.Fatal(err)
	}
	open := r.hear().GetOpenTail()
	s := &system{t: t, url: w.servers["srv_b"].url}
	s.pushLogs(tailed, &agentv1.PushLogsRequest{LogId: open.GetLogId(), Lines: []*gestorv1.LogLine{line(1, "hello")}})
	if got := <-lines; len(got) != 1 || got[0].GetText() != "hello" {
		t.Fatalf("got %v", got)
	}
	leave()
	if c := r.hear().GetCloseTail(); c.GetLogId() != open.GetLogId() {
		t.Fatalf("heard %v", c)
	}
	if _, err := w.servers["srv_c"].svc.OpenTail(t.Context(), w.addNode("web-3"), "shop", 1, false); err == nil {
		t.Fatal("a node without a session was tailed")
	}
}

func TestServers_OneWithMoreThanItsShareLetsIdleAgentsGo(t *testing.T) {
	w := newTown(t, "srv_a", "srv_b")
	var agents []*nodestest.FakeAgent
	for i := range 12 {
		node := w.addNode(fmt.Sprintf("web-%d", i))
		if i < 9 {
			w.lease(gestor.TaskID("tsk_"+string(node)), node) // nine work
		}
		a := &nodestest.FakeAgent{Node: node, Client: nodestest.NewClient(t, w.servers["srv_a"].url, node), Work: nodestest.Hang, Beat: 50 * time.Millisecond}
		a.Start(t)
		agents = append(agents, a)
	}
	eventually(t, "the idle to leave", func() bool {
		return len(agents[9].Goodbyes())+len(agents[10].Goodbyes())+len(agents[11].Goodbyes()) >= 3
	})
	for i, a := range agents[:9] {
		if got := a.Goodbyes(); len(got) != 0 {
			t.Errorf("agent %d, which works, was told %v", i, got)
		}
	}
}

func TestSession_WaitsUntilThisServerKnowsWhatTheAgentKnows(t *testing.T) {
	w := newTown(t, "srv_a")
	node := w.addNode("web-1")
	hello := func(h *agentv1.AgentHello) error {
		stream, err := nodestest.NewClient(t, w.servers["srv_a"].url, node).Session(t.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: h}}); err != nil {
			return err
		}
		for range 2 { // the server's hello, then what it says to a task that nobody knows
			m, err := stream.Receive()
			if err != nil {
				return err
			}
			if m.GetHello() != nil && !slices.Equal(m.GetHello().GetServers(), []string{"one.example:8443"}) {
				t.Errorf("the servers are %v", m.GetHello().GetServers())
			}
		}
		return nil
	}
	ahead := w.engine.Revision() + 2
	for _, h := range []*agentv1.AgentHello{{Revision: ahead}, {Tasks: []*agentv1.HeldTask{{TaskId: "tsk_1", Fence: ahead}}}} {
		if err := hello(h); err == nil || !strings.Contains(err.Error(), "behind") {
			t.Errorf("%v was answered with %v", h, err)
		}
	}
	done := make(chan error, 1)
	go func() {
		done <- hello(&agentv1.AgentHello{Tasks: []*agentv1.HeldTask{{TaskId: "tsk_1", Fence: ahead}}})
	}()
	for w.engine.Revision() < ahead {
		w.addNode(fmt.Sprintf("other-%d", w.engine.Revision()))
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
}
