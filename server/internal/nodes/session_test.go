package nodes_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestSession_SecondOneOfANodeEndsTheFirst(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	s.awaitStatus(a.Node, gestor.NodeConnected)
	b := &nodestest.FakeAgent{Node: a.Node, Client: nodestest.NewClient(t, s.url, a.Node), Work: nodestest.Succeed, Beat: 50 * time.Millisecond}
	b.Start(t)
	eventually(t, "the goodbye", func() bool {
		return slices.Equal(a.Goodbyes(), []string{"another session of this node began"})
	})
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
	if len(a.Begun()) != 0 || len(b.Begun()) != 1 {
		t.Fatalf("first began %v, second %v", a.Begun(), b.Begun())
	}
	s.awaitStatus(a.Node, gestor.NodeConnected)
}

func TestSession_RefusesCallersWithoutACertificateAndUnknownNodes(t *testing.T) {
	s := newSystem(t)
	for node, want := range map[gestor.NodeID]connect.Code{"": connect.CodeUnknown, "nod_gone": connect.CodeUnknown} {
		stream, err := nodestest.NewClient(t, s.url, node).Session(t.Context())
		if err == nil {
			_, err = stream.Receive()
		}
		if connect.CodeOf(err) != want { // no interceptor maps kinds here
			t.Errorf("%q: err = %v", node, err)
		}
	}
}

func TestSession_EndsWhenTheNodeIsDeleted(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	s.awaitStatus(a.Node, gestor.NodeConnected)
	s.Must(t, command.DeleteNode{ID: a.Node})
	eventually(t, "the goodbye", func() bool { return slices.Equal(a.Goodbyes(), []string{"this node was deleted"}) })
}

func TestRun_SaysGoodbyeWhenItStops(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	s.awaitStatus(a.Node, gestor.NodeConnected)
	s.stop()
	eventually(t, "the goodbye", func() bool { return slices.Equal(a.Goodbyes(), []string{"the server is stopping"}) })
}

func TestSession_AgentThatDoesNotReadLosesItsSession(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	s.raw(node)
	eventually(t, "the session", func() bool { return s.svc.Connected(node) })
	eventually(t, "the session to end", func() bool {
		for range 200 { // each asks the agent for a tail with a long name, which it never reads
			if _, err := s.svc.OpenTail(t.Context(), node, strings.Repeat("x", 100<<10), 1, true); err != nil {
				return true
			}
		}
		return !s.svc.Connected(node)
	})
}

func TestSession_RefusesFactsThatAreTooLarge(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	stream, err := nodestest.NewClient(t, s.url, node).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	facts := &gestorv1.NodeFacts{Arch: strings.Repeat("x", 64<<10)}
	if err := stream.Send(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{Facts: facts}}}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Receive() // the server's hello, then the refusal
	}
	if !strings.Contains(err.Error(), "facts") || s.svc.Connected(node) {
		t.Fatalf("err = %v", err)
	}
}
