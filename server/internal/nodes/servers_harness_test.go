package nodes_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// town is several servers over one real engine, as if they replicated without any delay.
type town struct {
	t       *testing.T
	engine  *engine.Engine
	servers map[string]*townServer

	mu     sync.Mutex
	leader string          // guarded by mu; empty for none
	cut    map[string]bool // guarded by mu; servers that reach nobody
}

type townServer struct {
	id      string
	svc     *nodes.Service
	url     string // for agents
	peerURL string
	leases  *leases
	stop    func()
	depose  func()
}

// leases notes what is renewed.
type leases struct {
	mu      sync.Mutex
	renewed map[nodes.Held]int
}

// Renew implements nodes.Leases.
func (l *leases) Renew(_ gestor.NodeID, held []nodes.Held, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range held {
		l.renewed[h]++
	}
}

// Excuse implements nodes.Leases.
func (*leases) Excuse() {}

func (l *leases) count(h nodes.Held) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed[h]
}

// seat is the engine as one of the servers has it.
type seat struct {
	*engine.Engine
	town *town
	id   string
}

func (s seat) ID() string { return s.id }

func (s seat) Leader() string {
	s.town.mu.Lock()
	defer s.town.mu.Unlock()
	if s.town.cut[s.id] && s.town.leader != s.id {
		return ""
	}
	return s.town.leader
}

func (s seat) LastContact() time.Time {
	if s.Leader() == "" {
		return time.Now().Add(-time.Minute)
	}
	return time.Now()
}

func (s seat) ProposeHere(ctx context.Context, data []byte) (command.Receipt, error) {
	if s.Leader() != s.id {
		return command.Receipt{}, fault.Unavailable("another server leads").WithCause(cluster.ErrNotLeader)
	}
	return s.Engine.ProposeHere(ctx, data)
}

// road is the way of one server to the others.
type road struct {
	town *town
	id   string
}

func (r road) Others() []string {
	var out []string
	for id := range r.town.servers {
		if id != r.id {
			out = append(out, id)
		}
	}
	return out
}

type callerKey struct{}

const callerHeader = "Test-Server"

func (road) Caller(ctx context.Context) string {
	id, _ := ctx.Value(callerKey{}).(string)
	return id
}

func (r road) Presence(server string) (peerv1connect.PresenceServiceClient, error) {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return peerv1connect.NewPresenceServiceClient(&http.Client{Transport: byServer{transport, r, server}}, r.town.servers[server].peerURL), nil
}

type byServer struct {
	next http.RoundTripper
	road road
	to   string
}

func (b byServer) RoundTrip(r *http.Request) (*http.Response, error) {
	b.road.town.mu.Lock()
	cut := b.road.town.cut[b.road.id] || b.road.town.cut[b.to]
	b.road.town.mu.Unlock()
	if cut {
		return nil, fault.Unavailable("there is no way to %s", b.to)
	}
	r = r.Clone(r.Context())
	r.Header.Set(callerHeader, b.road.id)
	return b.next.RoundTrip(r)
}

// townTimes let a server be given up soon; nodes stay as they are for long enough to be looked at.
var townTimes = nodes.Times{
	Heartbeat: 100 * time.Millisecond, Suspect: 600 * time.Millisecond, Lost: 1500 * time.Millisecond, Server: 300 * time.Millisecond,
	Leaderless: 200 * time.Millisecond, CatchUp: 300 * time.Millisecond,
}

func newTown(t *testing.T, ids ...string) *town {
	t.Helper()
	w := &town{t: t, engine: enginetest.New(t), servers: map[string]*townServer{}, cut: map[string]bool{}, leader: ids[0]}
	for _, id := range ids {
		hist, blobs := nodestest.Stores(t)
		s := &townServer{id: id, leases: &leases{renewed: map[nodes.Held]int{}}}
		s.svc = nodes.New(nodes.Options{
			Engine: seat{w.engine, w, id}, History: hist, Blobs: blobs, Secrets: noSecrets{}, Leases: s.leases, Peers: road{w, id},
			Servers: func(context.Context) ([]string, error) { return []string{"one.example:8443"}, nil },
			Caller:  nodestest.Caller, Log: slog.New(slog.DiscardHandler), Times: townTimes,
		})
		s.url, s.peerURL = nodestest.NewServer(t, s.svc), servePresence(t, s.svc)
		w.servers[id] = s
	}
	for _, s := range w.servers {
		s.stop = nodestest.Run(t, s.svc.Run)
	}
	w.lead(ids[0])
	return w
}

func servePresence(t *testing.T, svc *nodes.Service) string {
	t.Helper()
	_, handler := peerv1connect.NewPresenceServiceHandler(svc.Presence())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, r.Header.Get(callerHeader))))
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

type noSecrets struct{}

// ForTask implements nodes.Secrets.
func (noSecrets) ForTask(context.Context, gestor.Task) (*agentv1.Secrets, error) {
	return &agentv1.Secrets{}, nil
}

// lead makes a server lead, and the one before not; an empty id nobody.
func (w *town) lead(id string) {
	w.mu.Lock()
	before := w.leader
	w.leader = id
	w.mu.Unlock()
	if s := w.servers[before]; s != nil && s.depose != nil {
		s.depose()
	}
	if s := w.servers[id]; s != nil {
		s.depose = nodestest.Run(w.t, s.svc.RunTerm)
	}
}

// isolate cuts a server off from all others, or takes it back.
func (w *town) isolate(id string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[id] = cut
}

func (w *town) addNode(name string) gestor.NodeID {
	w.t.Helper()
	id := gestor.NodeID("nod_" + name)
	enginetest.AddNode(w.t, w.engine, id, name)
	enginetest.Propose(w.t, w.engine, gestor.SystemActor("test"), command.SetNodeStatus{ID: id, Status: gestor.NodeEnrolled})
	return id
}

func (w *town) agent(server string, node gestor.NodeID) (*nodestest.FakeAgent, func()) {
	w.t.Helper()
	a := &nodestest.FakeAgent{Node: node, Client: nodestest.NewClient(w.t, w.servers[server].url, node), Work: nodestest.Hang, Beat: 50 * time.Millisecond}
	stop := a.Start(w.t)
	eventually(w.t, "the session", func() bool { return w.servers[server].svc.Connected(node) })
	w.await(node, gestor.NodeConnected)
	return a, stop
}

func (w *town) lease(id gestor.TaskID, node gestor.NodeID) nodes.Held {
	w.t.Helper()
	enginetest.Propose(w.t, w.engine, enginetest.Actor(), command.CreateTask{Task: gestor.Task{
		ID: id, TenantID: enginetest.Tenant, Kind: gestor.TaskRetire, NodeID: node, Timeout: time.Minute, MaxAttempts: 3,
	}})
	r := enginetest.Propose(w.t, w.engine, gestor.SystemActor("test"), command.LeaseTask{ID: id, Node: node})
	return nodes.Held{Task: id, Fence: r.Revision}
}

func (w *town) status(node gestor.NodeID) gestor.NodeStatus {
	n, err := w.engine.View(gestor.SystemScope()).Node(context.Background(), node)
	if err != nil {
		w.t.Fatal(err)
	}
	return n.Status
}

func (w *town) await(node gestor.NodeID, want gestor.NodeStatus) {
	w.t.Helper()
	eventually(w.t, "node "+string(want), func() bool { return w.status(node) == want })
}

// never fails the test if a node becomes what it must not while do runs.
func (w *town) never(node gestor.NodeID, not gestor.NodeStatus, do func()) {
	w.t.Helper()
	sub := w.engine.Watch(state.Nodes)
	defer sub.Close()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	for {
		select {
		case <-sub.C:
			if w.status(node) == not {
				w.t.Errorf("node became %s", not)
			}
		case <-done:
			return
		}
	}
}
