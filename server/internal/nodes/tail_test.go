package nodes_test

import (
	"context"
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestOpenTail_BringsAnAppsOutputUntilTheCallerLeaves(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	r := s.raw(node)
	eventually(t, "the session", func() bool { return s.svc.Connected(node) })
	ctx, leave := context.WithCancel(t.Context())
	lines, err := s.svc.OpenTail(ctx, node, "shop", 10, true)
	if err != nil {
		t.Fatal(err)
	}
	open := r.hear().GetOpenTail()
	if open.GetSlug() != "shop" || open.GetLast() != 10 || !open.GetFollow() {
		t.Fatalf("asked for %v", open)
	}
	s.pushLogs(node, &agentv1.PushLogsRequest{LogId: open.GetLogId(), Lines: []*gestorv1.LogLine{line(1, "hello")}})
	if got := <-lines; len(got) != 1 || got[0].GetText() != "hello" {
		t.Fatalf("got %v", got)
	}
	leave()
	if _, more := <-lines; more {
		t.Fatal("the channel was not closed")
	}
	if c := r.hear().GetCloseTail(); c.GetLogId() != open.GetLogId() {
		t.Fatalf("heard %v", c)
	}
	if got := s.pushLogs(node, &agentv1.PushLogsRequest{LogId: open.GetLogId()}); !got[0].GetUnwanted() {
		t.Fatalf("answer = %v", got)
	}
}

func TestOpenTail_EndsWithTheAgentsReason(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	r := s.raw(node)
	eventually(t, "the session", func() bool { return s.svc.Connected(node) })
	lines, err := s.svc.OpenTail(t.Context(), node, "shop", 10, true)
	if err != nil {
		t.Fatal(err)
	}
	id := r.hear().GetOpenTail().GetLogId()
	r.say(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_TailEnded{TailEnded: &agentv1.TailEnded{LogId: id, Error: "shop does not run here"}}})
	if got := <-lines; got[0].GetText() != "shop does not run here" {
		t.Fatalf("got %v", got)
	}
	if _, more := <-lines; more {
		t.Fatal("the channel was not closed")
	}
}

func TestOpenTail_NeedsASession(t *testing.T) {
	s := newSystem(t)
	if _, err := s.svc.OpenTail(t.Context(), s.AddNode(t, "web-1"), "shop", 10, true); !errors.Is(err, fault.KindUnavailable) {
		t.Fatalf("err = %v", err)
	}
}
