package nodes_test

import (
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func line(seq uint64, text string) *gestorv1.LogLine {
	return &gestorv1.LogLine{Seq: seq, Text: text}
}

func (s *system) pushLogs(node gestor.NodeID, ms ...*agentv1.PushLogsRequest) []*agentv1.PushLogsResponse {
	s.t.Helper()
	stream, err := nodestest.NewClient(s.t, s.url, node).PushLogs(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var out []*agentv1.PushLogsResponse
	for _, m := range ms {
		if err := stream.Send(m); err != nil {
			s.t.Fatal(err)
		}
		answer, err := stream.Receive()
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, answer)
	}
	if err := stream.CloseRequest(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestPushLogs_StoresOnlyLinesOfTheNodesOwnTasks(t *testing.T) {
	s := newSystem(t)
	mine, other := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	s.lease("tsk_mine", gestor.TaskRetire, "", mine, &agentv1.TaskSpec{})
	s.lease("tsk_other", gestor.TaskRetire, "", other, &agentv1.TaskSpec{})
	got := s.pushLogs(mine,
		&agentv1.PushLogsRequest{LogId: "tsk_mine", Lines: []*gestorv1.LogLine{line(1, "a"), line(2, "b")}, Eof: true},
		&agentv1.PushLogsRequest{LogId: "tsk_other", Lines: []*gestorv1.LogLine{line(1, "forged")}},
		&agentv1.PushLogsRequest{LogId: "tsk_none", Lines: []*gestorv1.LogLine{line(1, "forged")}},
		&agentv1.PushLogsRequest{LogId: "tail/none", Lines: []*gestorv1.LogLine{line(1, "late")}},
	)
	if got[0].GetAckedSeq() != 2 || got[0].GetUnwanted() || !got[1].GetUnwanted() || !got[2].GetUnwanted() || !got[3].GetUnwanted() {
		t.Fatalf("answers = %v", got)
	}
	if text := s.logOf("tsk_mine"); text != "ab" {
		t.Fatalf("log = %q", text)
	}
}

// logOf is all text of a log.
func (s *system) logOf(id string) string {
	s.t.Helper()
	var text strings.Builder
	for lines, err := range s.hist.Tail(s.t.Context(), id, history.TailOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range lines {
			text.WriteString(l.GetText())
		}
	}
	return text.String()
}

func TestPushLogs_LateLinesOfAnEarlierAttemptDisplaceNoneOfTheNext(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	first := s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	push := func(attempt int32, eof bool, lines ...*gestorv1.LogLine) *agentv1.PushLogsRequest {
		return &agentv1.PushLogsRequest{LogId: "tsk_1", Attempt: attempt, Lines: lines, Eof: eof}
	}
	stream, err := nodestest.NewClient(t, s.url, node).PushLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(m *agentv1.PushLogsRequest) *agentv1.PushLogsResponse {
		t.Helper()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	send(push(1, false, line(1, "a1")))
	if got := send(push(2, false, line(1, "early"))); !got.GetUnwanted() {
		t.Errorf("an attempt that has not begun: %v", got)
	}
	s.Must(t, command.LoseTask{ID: "tsk_1", Fence: first.Fence})
	s.Must(t, command.LeaseTask{ID: "tsk_1", Node: node})
	send(push(2, false, line(1, "b1"))) // on the same stream, at once
	if got := send(push(1, true, line(2, "a2"), line(3, "a3"))); got.GetAckedSeq() != 3 {
		t.Errorf("late lines: %v", got)
	}
	if got := send(push(2, true, line(2, "b2"))); got.GetAckedSeq() != 2 {
		t.Errorf("the next attempt: %v", got)
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if got := s.logOf("tsk_1"); got != "a1a2a3b1b2" {
		t.Errorf("log = %q", got)
	}
}
