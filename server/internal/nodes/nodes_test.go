package nodes_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// system is the agents' service over the real state machine.
type system struct {
	*nodestest.Engine
	t     *testing.T
	svc   *nodes.Service
	hist  *history.Store
	blobs *blob.Store
	ring  *secret.Ring
	url   string
	stop  func()

	mu      sync.Mutex
	renewed []nodes.Held
}

// Renew makes system the Leases of its service.
func (s *system) Renew(_ gestor.NodeID, held []nodes.Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = append(s.renewed, held...)
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{Engine: nodestest.NewEngine(t), t: t}
	var err error
	if s.hist, err = history.Open(history.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if s.blobs, err = blob.Open(blob.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if s.ring, err = secret.Create(filepath.Join(t.TempDir(), "keyring")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.hist.Close(); _ = s.blobs.Close() })
	s.svc = nodes.New(nodes.Options{
		Engine: s.Engine, History: s.hist, Blobs: s.blobs, Secrets: nodes.NewVault(s.Engine, s.ring), Leases: s,
		Caller: nodestest.Caller, Log: slog.New(slog.DiscardHandler), Times: times,
	})
	s.url = nodestest.NewServer(t, s.svc)
	s.stop = s.run(s.svc.Run)
	return s
}

var times = nodes.Times{Heartbeat: 100 * time.Millisecond, Suspect: 400 * time.Millisecond, Lost: 800 * time.Millisecond, Hello: time.Second}

func (s *system) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return stop
}

type work = func(context.Context, nodestest.Job) *agentv1.TaskFinished

func (s *system) agent(name string, w work) (*nodestest.FakeAgent, func()) {
	id := s.AddNode(s.t, name)
	a := &nodestest.FakeAgent{Node: id, Client: nodestest.NewClient(s.t, s.url, id), Work: w, Beat: 50 * time.Millisecond}
	return a, a.Start(s.t)
}

// lease makes a task for an app on a node and leases it.
func (s *system) lease(id gestor.TaskID, kind string, app gestor.AppID, node gestor.NodeID, spec *agentv1.TaskSpec) gestor.Task {
	s.t.Helper()
	spec.Kind = kind
	raw, err := proto.Marshal(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Must(s.t, command.CreateTask{Task: gestor.Task{
		ID: id, TenantID: nodestest.Tenant, Kind: kind, NodeID: node, AppID: app, Spec: raw, Timeout: time.Minute, OnLost: gestor.LostRetry, MaxAttempts: 3,
	}})
	s.Must(s.t, command.LeaseTask{ID: id, Node: node})
	return s.task(id)
}

func (s *system) task(id gestor.TaskID) gestor.Task {
	s.t.Helper()
	task, err := s.View(gestor.SystemScope()).Task(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return task
}

func (s *system) awaitTask(id gestor.TaskID, want gestor.TaskState) {
	s.t.Helper()
	s.Await(s.t, "task "+string(want), func(v *state.View) bool {
		task, err := v.Task(context.Background(), id)
		return err == nil && task.State == want
	})
}

func (s *system) awaitStatus(id gestor.NodeID, want gestor.NodeStatus) {
	s.t.Helper()
	s.Await(s.t, "node "+string(want), func(v *state.View) bool {
		n, err := v.Node(context.Background(), id)
		return err == nil && n.Status == want
	})
}

func hang(ctx context.Context, _ nodestest.Job) *agentv1.TaskFinished { return nodestest.Hang(ctx) }

func TestSession_CarriesOutWhatIsLeased(t *testing.T) {
	s := newSystem(t)
	got := make(chan *agentv1.TaskSpec, 1)
	a, _ := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		got <- j.Spec
		return nodestest.Succeed(ctx, j)
	})
	s.awaitStatus(a.Node, gestor.NodeConnected)
	task := s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
	if spec := <-got; spec.GetId() != "tsk_1" || spec.GetFence() != task.Fence || spec.GetAttempt() != 1 || spec.GetResource() != "task/tsk_1" ||
		!spec.GetDeadline().AsTime().Equal(task.Deadline) {
		t.Fatalf("spec = %v", spec)
	}
	if done := s.task("tsk_1"); done.StartedAt.IsZero() {
		t.Fatalf("task = %+v", done)
	}
}

func TestSession_BringsSecretsThatTheSpecDoesNotHold(t *testing.T) {
	s := newSystem(t)
	got := make(chan *agentv1.Secrets, 1)
	a, _ := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		got <- j.Secrets
		return nodestest.Succeed(ctx, j)
	})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": s.ring.Seal([]byte("hunter2"), nodes.EnvPlace(app, "TOKEN"))}})
	s.lease("tsk_1", gestor.TaskPrepare, app, a.Node, &agentv1.TaskSpec{})
	if sec := <-got; sec.GetEnv()["TOKEN"] != "hunter2" {
		t.Fatalf("secrets = %v", sec)
	}
}

func TestSession_FailsATaskWhoseSecretsCannotBeOpened(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": []byte("not sealed")}})
	s.lease("tsk_1", gestor.TaskPrepare, app, a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskFailed)
}

func TestSession_GivesAReconnectingAgentNothingItHasAndAllItLacks(t *testing.T) {
	s := newSystem(t)
	release := make(chan struct{})
	a, stop := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		<-release
		return nodestest.Succeed(ctx, j)
	})
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	stop()
	s.awaitStatus(a.Node, gestor.NodeSuspect)
	s.lease("tsk_2", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	a.Start(t)
	s.awaitTask("tsk_2", gestor.TaskRunning)
	close(release)
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
	s.awaitTask("tsk_2", gestor.TaskSucceeded)
	if got := a.Begun(); len(got) != 2 {
		t.Fatalf("began %v", got)
	}
}

func TestSession_TakesAResultThatWasFinishedWhileCutOff(t *testing.T) {
	s := newSystem(t)
	finish := make(chan struct{})
	a, stop := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		<-finish
		return nodestest.Succeed(ctx, j)
	})
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	stop()
	close(finish)
	a.Start(t)
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
}

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

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// raw is a session that a test speaks itself.
type raw struct {
	t      *testing.T
	stream *connect.BidiStreamForClientSimple[agentv1.SessionRequest, agentv1.SessionResponse]
}

func (s *system) raw(node gestor.NodeID, held ...*agentv1.HeldTask) *raw {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	stream, err := nodestest.NewClient(s.t, s.url, node).Session(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &raw{s.t, stream}
	r.say(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{Tasks: held}}})
	if r.hear().GetHello() == nil {
		s.t.Fatal("the server did not say hello first")
	}
	return r
}

func (r *raw) say(m *agentv1.SessionRequest) {
	r.t.Helper()
	if err := r.stream.Send(m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) hear() *agentv1.SessionResponse {
	r.t.Helper()
	m, err := r.stream.Receive()
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func finished(id gestor.TaskID, fence uint64, o agentv1.Outcome) *agentv1.SessionRequest {
	return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: &agentv1.TaskFinished{TaskId: string(id), Fence: fence, Outcome: o}}}
}

func TestSession_StaleFenceIsAcknowledgedAndChangesNothing(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	first := s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	s.Must(t, command.LoseTask{ID: "tsk_1", Fence: first.Fence})
	s.Must(t, command.LeaseTask{ID: "tsk_1", Node: node})
	r := s.raw(node, &agentv1.HeldTask{TaskId: "tsk_1", Fence: first.Fence})
	if c := r.hear().GetCancel(); c.GetFence() != first.Fence {
		t.Fatalf("the stale attempt was not stopped: %v", c)
	}
	if a := r.hear().GetAssign(); a.GetTask().GetFence() != s.task("tsk_1").Fence || a.GetTask().GetAttempt() != 2 {
		t.Fatalf("assigned %v", a)
	}
	r.say(finished("tsk_1", first.Fence, agentv1.Outcome_OUTCOME_SUCCEEDED))
	if a := r.hear().GetAcknowledged(); a.GetFence() != first.Fence {
		t.Fatalf("got %v", a)
	}
	if got := s.task("tsk_1").State; got != gestor.TaskLeased {
		t.Fatalf("task is %s", got)
	}
}

func TestSession_AgentSpeaksOnlyForItsOwnTasks(t *testing.T) {
	s := newSystem(t)
	mine, other := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	task := s.lease("tsk_1", gestor.TaskRetire, "", other, &agentv1.TaskSpec{})
	r := s.raw(mine)
	r.say(finished("tsk_1", task.Fence, agentv1.Outcome_OUTCOME_SUCCEEDED))
	if a := r.hear().GetAcknowledged(); a.GetTaskId() != "tsk_1" {
		t.Fatalf("got %v", a)
	}
	if got := s.task("tsk_1").State; got != gestor.TaskLeased {
		t.Fatalf("task is %s", got)
	}
}

func TestSession_CancelReachesTheAgent(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", hang)
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	s.Must(t, command.CancelTask{ID: "tsk_1"})
	s.awaitTask("tsk_1", gestor.TaskCancelled)
}

func TestSession_TaskCancelledBeforeItWasPushedEndsAtOnce(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	s.Must(t, command.CancelTask{ID: "tsk_1"})
	s.raw(node) // an agent that says nothing of the task, because it never had it
	s.awaitTask("tsk_1", gestor.TaskCancelled)
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

func TestSession_HeartbeatsRenewLeasesAndKeepTheLoadInMemory(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", hang)
	task := s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	eventually(t, "a renewed lease", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Contains(s.renewed, nodes.Held{Task: "tsk_1", Fence: task.Fence})
	})
	eventually(t, "the load", func() bool {
		load, ok := s.svc.Load(a.Node)
		return ok && load.GetTasks() == 1
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
	gone, back := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	s.Must(t, command.SetNodeStatus{ID: gone, Status: gestor.NodeConnected})
	s.Must(t, command.SetNodeStatus{ID: back, Status: gestor.NodeConnected})
	s.run(s.svc.RunTerm)
	a := &nodestest.FakeAgent{Node: back, Client: nodestest.NewClient(t, s.url, back), Work: nodestest.Succeed, Beat: 50 * time.Millisecond}
	a.Start(t)
	s.awaitStatus(gone, gestor.NodeLost)
	s.awaitStatus(back, gestor.NodeConnected)
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
	if got := a.Goodbyes(); !slices.Equal(got, []string{"the server is stopping"}) {
		eventually(t, "the goodbye", func() bool { return slices.Equal(a.Goodbyes(), []string{"the server is stopping"}) })
	}
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
	var text string
	for lines, err := range s.hist.Tail(s.t.Context(), id, history.TailOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range lines {
			text += l.GetText()
		}
	}
	return text
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
	if got := s.logOf("tsk_1"); got != "a1b1a2a3b2" {
		t.Errorf("log = %q", got)
	}
}

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

func (s *system) putBlob(node gestor.NodeID, digest string, task gestor.TaskID, fence uint64, data []byte) error {
	s.t.Helper()
	stream, err := nodestest.NewClient(s.t, s.url, node).PutBlob(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	first := &agentv1.PutBlobRequest{Digest: digest, Size: int64(len(data)), TaskId: string(task), Fence: fence}
	for piece := range slices.Chunk(data, 300_000) {
		first.Data = piece
		if err := stream.Send(first); err != nil {
			break // the answer says why
		}
		first = &agentv1.PutBlobRequest{}
	}
	_, err = stream.CloseAndReceive()
	return err
}

func TestBlobs_TravelOnlyForTheTaskThatNamesThem(t *testing.T) {
	s := newSystem(t)
	mine, other := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	data := bytes.Repeat([]byte("gestor "), 400_000)
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	build := s.lease("tsk_build", gestor.TaskBuild, "", mine, &agentv1.TaskSpec{})
	for name, err := range map[string]error{
		"another node":   s.putBlob(other, digest, "tsk_build", build.Fence, data),
		"another fence":  s.putBlob(mine, digest, "tsk_build", build.Fence+1, data),
		"another digest": s.putBlob(mine, strings.Repeat("0", 64), "tsk_build", build.Fence, data),
	} {
		if err == nil {
			t.Errorf("%s may store", name)
		}
	}
	if err := s.putBlob(mine, digest, "tsk_build", build.Fence, data); err != nil {
		t.Fatal(err)
	}
	spec := &agentv1.TaskSpec{Work: &agentv1.TaskSpec_Prepare{Prepare: &agentv1.PrepareWork{Release: &agentv1.ReleaseSpec{ArtifactDigest: digest}}}}
	prepare := s.lease("tsk_prepare", gestor.TaskPrepare, "", other, spec)
	got, err := s.getBlob(other, digest, "tsk_prepare", prepare.Fence, 7)
	if err != nil || !bytes.Equal(got, data[7:]) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if _, err := s.getBlob(mine, digest, "tsk_prepare", prepare.Fence, 0); err == nil {
		t.Fatal("another node may read")
	}
	if _, err := s.getBlob(mine, digest, "tsk_build", build.Fence, 0); err == nil {
		t.Fatal("a task that does not name it may read")
	}
}

func (s *system) getBlob(node gestor.NodeID, digest string, task gestor.TaskID, fence uint64, offset int64) ([]byte, error) {
	s.t.Helper()
	stream, err := nodestest.NewClient(s.t, s.url, node).GetBlob(s.t.Context(), &agentv1.GetBlobRequest{
		Digest: digest, TaskId: string(task), Fence: fence, Offset: offset,
	})
	if err != nil {
		return nil, err
	}
	var out []byte
	for stream.Receive() {
		out = append(out, stream.Msg().GetData()...)
	}
	if err := stream.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}
