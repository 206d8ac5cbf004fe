package nodestest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// nodeHeader says which node a test's client is, where a certificate would.
const nodeHeader = "Test-Node"

type nodeKey struct{}

// Caller reads the node from the requests of a Server.
func Caller(ctx context.Context) (gestor.NodeID, gestor.TenantID, bool) {
	id, ok := ctx.Value(nodeKey{}).(gestor.NodeID)
	return id, Tenant, ok && id != ""
}

// Handler serves an agents' service to clients that say which node they are.
func Handler(svc agentv1connect.AgentServiceHandler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(agentv1connect.NewAgentServiceHandler(svc))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), nodeKey{}, gestor.NodeID(r.Header.Get(nodeHeader)))
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// NewServer serves an agents' service over HTTP/2 and returns its address.
func NewServer(t testing.TB, svc agentv1connect.AgentServiceHandler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(Handler(svc))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// NewClient is a client that comes from node, over a connection of its own.
func NewClient(t testing.TB, url string, node gestor.NodeID) agentv1connect.AgentServiceClient {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return agentv1connect.NewAgentServiceClient(&http.Client{Transport: asNode{transport, node}}, url)
}

// AsNode makes requests come from node.
func AsNode(next http.RoundTripper, node gestor.NodeID) http.RoundTripper { return asNode{next, node} }

type asNode struct {
	next http.RoundTripper
	node gestor.NodeID
}

func (a asNode) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(nodeHeader, string(a.node))
	return a.next.RoundTrip(r)
}

// Job is a task that a FakeAgent was given.
type Job struct {
	Spec    *agentv1.TaskSpec
	Secrets *agentv1.Secrets
}

// FakeAgent is an agent that does what Work says. It holds a journal over reconnects, as a real one does.
type FakeAgent struct {
	Node   gestor.NodeID
	Client agentv1connect.AgentServiceClient
	// Work carries out a task and returns how it ended; ctx ends when the task is cancelled. It must not return nil.
	Work func(ctx context.Context, j Job) *agentv1.TaskFinished
	// Beat is the time between heartbeats; 200 ms if 0.
	Beat time.Duration

	mu       sync.Mutex
	jobs     map[string]*job                // by task
	seen     []string                       // kinds of tasks begun, in order
	goodbyes []string                       // reasons
	send     chan<- *agentv1.SessionRequest // nil without a session
}

type job struct {
	spec     *agentv1.TaskSpec
	cancel   context.CancelFunc
	finished *agentv1.TaskFinished // nil while it runs
}

// Begun are the kinds of the tasks that were begun, in order; "revert" for a switch back.
func (a *FakeAgent) Begun() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

// Goodbyes are the reasons servers gave for ending sessions.
func (a *FakeAgent) Goodbyes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.goodbyes...)
}

// Start runs a session in the background; stop breaks it and waits. The agent can be started again.
func (a *FakeAgent) Start(t testing.TB) (stop func()) {
	t.Helper()
	return Run(t, a.session)
}

func (a *FakeAgent) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.Client.Session(ctx)
	if err != nil {
		return err
	}
	// HTTP/2 looks at the context only between pieces of the request's body, so the body has to end, too.
	defer context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })()
	send := make(chan *agentv1.SessionRequest, 1000)
	a.begin(send)
	defer a.begin(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for {
			select {
			case m := <-send:
				if stream.Send(m) != nil {
					return // why, the server has said before it ended the stream
				}
			case <-ctx.Done():
				return
			}
		}
	})
	wg.Go(func() { a.beat(ctx, send) })
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		if g := m.GetGoodbye(); g != nil {
			a.mu.Lock()
			a.goodbyes = append(a.goodbyes, g.GetReason())
			a.mu.Unlock()
			return errors.New(g.GetReason())
		}
		a.take(m) //nolint:contextcheck // tasks outlive the session that brought them
	}
}

// begin opens a session with the journal, or ends it.
func (a *FakeAgent) begin(send chan<- *agentv1.SessionRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs == nil {
		a.jobs = map[string]*job{}
	}
	a.send = send
	if send == nil {
		return
	}
	send <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{
		Version: "test", BootId: "boot", Tasks: a.held(), Facts: &gestorv1.NodeFacts{Cpus: 4, Arch: "amd64"},
	}}}
	for _, j := range a.jobs {
		if j.finished != nil {
			send <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: j.finished}}
		}
	}
}

func (a *FakeAgent) held() []*agentv1.HeldTask {
	var out []*agentv1.HeldTask
	for id, j := range a.jobs {
		out = append(out, &agentv1.HeldTask{TaskId: id, Fence: j.spec.GetFence()})
	}
	return out
}

func (a *FakeAgent) beat(ctx context.Context, send chan<- *agentv1.SessionRequest) {
	every := a.Beat
	if every == 0 {
		every = 200 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		held := a.held()
		a.mu.Unlock()
		send <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Heartbeat{Heartbeat: &agentv1.Heartbeat{
			Tasks: held, Load: &gestorv1.NodeLoad{Tasks: int32(len(held))},
		}}}
	}
}

func (a *FakeAgent) take(m *agentv1.SessionResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch m := m.GetMessage().(type) {
	case *agentv1.SessionResponse_Assign:
		a.assign(m.Assign)
	case *agentv1.SessionResponse_Cancel:
		if j := a.jobs[m.Cancel.GetTaskId()]; j != nil && j.spec.GetFence() == m.Cancel.GetFence() {
			j.cancel()
		}
	case *agentv1.SessionResponse_Acknowledged:
		if j := a.jobs[m.Acknowledged.GetTaskId()]; j != nil && j.spec.GetFence() == m.Acknowledged.GetFence() {
			delete(a.jobs, m.Acknowledged.GetTaskId())
		}
	}
}

// assign begins a task, unless the journal has it. a.mu is held.
func (a *FakeAgent) assign(m *agentv1.Assignment) {
	spec := m.GetTask()
	if j := a.jobs[spec.GetId()]; j != nil && j.spec.GetFence() >= spec.GetFence() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{spec: spec, cancel: cancel}
	a.jobs[spec.GetId()] = j
	kind := spec.GetKind()
	if spec.GetSwitch().GetRevert() {
		kind = "revert"
	}
	a.seen = append(a.seen, kind)
	a.send <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Started{Started: &agentv1.TaskStarted{
		TaskId: spec.GetId(), Fence: spec.GetFence(),
	}}}
	go func() {
		defer cancel()
		f := a.Work(ctx, Job{Spec: spec, Secrets: m.GetSecrets()})
		f.TaskId, f.Fence = spec.GetId(), spec.GetFence()
		a.mu.Lock()
		defer a.mu.Unlock()
		j.finished = f
		if a.send != nil {
			a.send <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: f}}
		}
	}()
}

// Done is a success.
func Done(r *agentv1.TaskResult) *agentv1.TaskFinished {
	return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_SUCCEEDED, Result: r}
}

// Failed is a failure that another attempt would not heal.
func Failed(why string) *agentv1.TaskFinished {
	return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_FAILED, Error: why}
}

// Hang is Work that waits until the task is cancelled.
func Hang(ctx context.Context, _ Job) *agentv1.TaskFinished {
	<-ctx.Done()
	return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_CANCELLED, Error: "cancelled"}
}

// Digest is the artifact that Succeed builds.
const Digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// Succeed is Work that does everything at once.
func Succeed(_ context.Context, j Job) *agentv1.TaskFinished {
	if j.Spec.GetKind() != gestor.TaskBuild {
		return Done(nil)
	}
	return Done(&agentv1.TaskResult{Result: &agentv1.TaskResult_Build{Build: &agentv1.BuildResult{
		Commit: "abc", Message: "first", ArtifactDigest: Digest, ArtifactBytes: 5, Files: 1,
		Type: gestorv1.AppType_APP_TYPE_STATIC, Kind: gestorv1.AppKind_APP_KIND_STATIC, WebRoot: ".",
	}}})
}
