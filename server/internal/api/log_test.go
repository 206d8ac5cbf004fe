package api_test

import (
	"context"
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func line(seq uint64, text string) *gestorv1.LogLine { return &gestorv1.LogLine{Seq: seq, Text: text} }

func (n *nouns) log(t *testing.T, id string, eof bool, lines ...*gestorv1.LogLine) {
	t.Helper()
	if _, err := n.history.Append(t.Context(), id, "test", lines, eof); err != nil {
		t.Fatal(err)
	}
}

func TestTailTaskLog_FollowsUntilTheTaskHasEndedAndItsLogIsWhole(t *testing.T) {
	n := newNouns(t)
	id := n.one.detect(t)
	n.log(t, id, false, line(1, "one"))
	stream, err := n.one.logs.TailTaskLog(t.Context(), &gestorv1.TailTaskLogRequest{TaskId: id, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if m := receive(t, stream); m.GetLines()[0].GetText() != "one" {
		t.Fatalf("got %v", m)
	}
	n.log(t, id, true, line(2, "two"))
	n.finish(t, id)
	if m := receive(t, stream); m.GetLines()[0].GetText() != "two" {
		t.Errorf("got %v", m)
	}
	if stream.Receive() || stream.Err() != nil {
		t.Errorf("the stream goes on: %v, %v", stream.Msg(), stream.Err())
	}
}

func TestTailTaskLog_BeginsWhereTheReaderLeft(t *testing.T) {
	n := newNouns(t)
	id := n.one.detect(t)
	n.log(t, id, true, line(1, "one"), line(2, "two"), line(3, "three"))
	stream, err := n.one.logs.TailTaskLog(t.Context(), &gestorv1.TailTaskLogRequest{TaskId: id, AfterSeq: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if m := receive(t, stream); len(m.GetLines()) != 1 || m.GetLines()[0].GetText() != "three" {
		t.Errorf("got %v", m)
	}
}

func TestTailAppLog_MergesNodesAndSaysWhichItCannotHear(t *testing.T) {
	n := newNouns(t)
	n.addNode(t, n.one.tenant, "nod_two", "web-2", "10.0.0.2")
	s := settings()
	s.Nodes = []string{"web-1", "web-2"}
	if _, err := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "shop", Settings: s}); err != nil {
		t.Fatal(err)
	}
	printed := make(chan []*gestorv1.LogLine, 1)
	printed <- []*gestorv1.LogLine{line(1, "hello")}
	n.tails.lines["nod_one"] = printed
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream, err := n.one.logs.TailAppLog(ctx, &gestorv1.TailAppLogRequest{App: "shop", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*gestorv1.TailAppLogResponse{}
	for range 2 {
		m := receive(t, stream)
		got[m.GetNodeName()] = m
	}
	if lines := got["web-1"].GetLines(); len(lines) != 1 || lines[0].GetText() != "hello" {
		t.Errorf("web-1 says %v", got["web-1"])
	}
	if got["web-2"].GetNotice() == "" {
		t.Errorf("nothing tells that web-2 cannot be heard: %v", got["web-2"])
	}
	close(printed)
	if m := receive(t, stream); m.GetNodeName() != "web-1" || m.GetNotice() == "" {
		t.Errorf("nothing tells that web-1's log ended: %v", m)
	}
}
