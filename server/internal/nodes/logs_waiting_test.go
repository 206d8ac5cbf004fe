package nodes_test

import (
	"context"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

// partitioned are logs whose lines other servers get only once the partition is over.
type partitioned struct {
	*history.Store
	over chan struct{}
}

func (p partitioned) Begin(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (func(context.Context) (uint64, error), error) {
	acked, err := p.Append(ctx, id, source, lines, eof)
	return func(ctx context.Context) (uint64, error) {
		select {
		case <-p.over:
			return acked, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, err
}

func TestPushLogs_AcknowledgesNothingWithoutAMajorityAndHoldsUpNothing(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	logs := partitioned{s.hist, make(chan struct{})}
	svc := nodes.New(nodes.Options{
		Engine: s.Engine, History: logs, Blobs: s.blobs, Secrets: nodes.NewVault(s.Engine, s.ring), Leases: s, Caller: nodestest.Caller, Times: times,
	})
	stream, err := nodestest.NewClient(t, nodestest.NewServer(t, svc), node).PushLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*agentv1.PushLogsRequest{
		{LogId: "tsk_1", Attempt: 1, Lines: []*gestorv1.LogLine{line(1, "a")}},
		{LogId: "tsk_1", Attempt: 1, Lines: []*gestorv1.LogLine{line(2, "b")}, Eof: true},
		{LogId: "tail/none", Lines: []*gestorv1.LogLine{line(1, "c")}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() *agentv1.PushLogsResponse {
		t.Helper()
		m, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := receive(); m.GetLogId() != "tail/none" {
		t.Fatalf("answered %v before other servers had the lines", m)
	}
	if got := s.logOf("tsk_1"); got != "ab" {
		t.Errorf("log = %q: the second chunk waits for the first", got)
	}
	close(logs.over)
	for _, want := range []uint64{1, 2} {
		if m := receive(); m.GetLogId() != "tsk_1" || m.GetAckedSeq() != want {
			t.Errorf("answer = %v, want %d acknowledged", m, want)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
}
