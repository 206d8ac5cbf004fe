package nodes_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
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
	t      *testing.T
	svc    *nodes.Service
	hist   *history.Store
	blobs  *blob.Store
	ring   *secret.Ring
	url    string
	stop   func() // its Run
	depose func() // ends its term

	mu      sync.Mutex
	renewed []nodes.Held
}

// Renew makes system the Leases of its service.
func (s *system) Renew(_ gestor.NodeID, held []nodes.Held, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = append(s.renewed, held...)
}

// Excuse is part of Leases.
func (s *system) Excuse() {}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{Engine: nodestest.NewEngine(t), t: t}
	s.hist, s.blobs = nodestest.Stores(t)
	var err error
	if s.ring, err = secret.Create(filepath.Join(t.TempDir(), "keyring")); err != nil {
		t.Fatal(err)
	}
	s.svc = nodes.New(nodes.Options{
		Engine: s.Engine, History: s.hist, Blobs: s.blobs, Secrets: nodes.NewVault(s.Engine, s.ring), Leases: s,
		Caller: nodestest.Caller, Log: slog.New(slog.DiscardHandler), Times: times,
	})
	s.url = nodestest.NewServer(t, s.svc)
	s.depose = s.run(s.svc.RunTerm)
	s.stop = s.run(s.svc.Run)
	return s
}

var times = nodes.Times{Heartbeat: 100 * time.Millisecond, Suspect: 400 * time.Millisecond, Lost: 800 * time.Millisecond, Hello: time.Second}

func (s *system) run(f func(context.Context) error) (stop func()) {
	s.t.Helper()
	return nodestest.Run(s.t, f)
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
