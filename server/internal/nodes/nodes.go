package nodes

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"golang.org/x/sync/errgroup"
)

// Caller tells which node an agent's request comes from. It is false for a request that no node signed.
type Caller func(ctx context.Context) (gestor.NodeID, gestor.TenantID, bool)

// Secrets finds what must travel with a task and be stored nowhere.
type Secrets interface {
	ForTask(ctx context.Context, t gestor.Task) (*agentv1.Secrets, error)
}

// Leases is who must hear that an agent still works on its tasks.
type Leases interface {
	Renew(node gestor.NodeID, held []Held)
}

// Held is a task that an agent says it holds.
type Held struct {
	Task  gestor.TaskID
	Fence uint64
}

// Options are what a Service is made of. All pointers and interfaces are needed but Log.
type Options struct {
	Engine    Engine
	History   *history.Store
	Blobs     *blob.Store
	Secrets   Secrets
	Leases    Leases
	Caller    Caller
	ClusterID gestor.ClusterID
	Version   string
	Times     Times
	Log       *slog.Logger // nil discards
}

// Times are how long things take. A zero means the default.
type Times struct {
	Heartbeat time.Duration // between heartbeats; 5 s
	Suspect   time.Duration // of silence until a node is suspect; 10 s
	Lost      time.Duration // without a session until a node is lost; 15 s
	Lease     time.Duration // told to agents; 30 s
	Hello     time.Duration // how long an agent may take to say hello; 10 s
}

func (t Times) withDefaults() Times {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Heartbeat, 5*time.Second)
	set(&t.Suspect, 10*time.Second)
	set(&t.Lost, 15*time.Second)
	set(&t.Lease, 30*time.Second)
	set(&t.Hello, 10*time.Second)
	return t
}

// Service is the agents' service on this server.
type Service struct {
	engine  Engine
	history *history.Store
	blobs   *blob.Store
	secrets Secrets
	leases  Leases
	caller  Caller
	cluster gestor.ClusterID
	version string
	times   Times
	log     *slog.Logger
	uploads uploads

	mu       sync.Mutex
	closing  bool
	sessions map[gestor.NodeID]*session
	loads    map[gestor.NodeID]*gestorv1.NodeLoad
	presence map[gestor.NodeID]*presence
	tails    map[string]*tail
	active   sync.WaitGroup // sessions whose handlers have not returned

	sharing sync.Mutex    // one look at the held tasks at a time, so that an older one is not handed out later
	wake    chan struct{} // presence changed
}

var _ agentv1connect.AgentServiceHandler = (*Service)(nil)

// New makes a Service. It serves once its handler is mounted and Run runs.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		engine: o.Engine, history: o.History, blobs: o.Blobs, secrets: o.Secrets, leases: o.Leases, caller: o.Caller,
		cluster: o.ClusterID, version: o.Version, times: o.Times.withDefaults(), log: o.Log.With("component", "nodes"),
		sessions: map[gestor.NodeID]*session{}, loads: map[gestor.NodeID]*gestorv1.NodeLoad{}, presence: map[gestor.NodeID]*presence{},
		tails: map[string]*tail{}, wake: make(chan struct{}, 1),
	}
}

// Run pushes work and watches over sessions until ctx ends, then says goodbye to all agents and waits, a few seconds
// at most, until they have heard it.
func (s *Service) Run(ctx context.Context) error {
	defer s.farewell()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.distribute(ctx) })
	g.Go(func() error { return s.guard(ctx) })
	g.Go(func() error { return s.revoke(ctx) })
	return g.Wait()
}

// farewell ends all sessions and refuses new ones.
func (s *Service) farewell() {
	s.mu.Lock()
	s.closing = true
	for _, sess := range s.sessions {
		sess.end(goodbye{"the server is stopping", time.Second})
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.active.Wait(); close(done) }() // ends with the last connection, which the program closes next
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		s.log.Warn("some agents did not take the goodbye")
	}
}

// Load returns the latest sample of a node that holds a session here.
func (s *Service) Load(id gestor.NodeID) (*gestorv1.NodeLoad, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.loads[id]
	return l, ok
}

// Connected reports whether a node holds a session on this server.
func (s *Service) Connected(id gestor.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sessions[id]
	return ok
}

// node returns the caller, or a refusal.
func (s *Service) node(ctx context.Context) (gestor.NodeID, gestor.TenantID, error) {
	id, tenant, ok := s.caller(ctx)
	if !ok {
		return "", "", fault.Unauthenticated("this is for agents with a node's certificate").
			WithFix("enrol the host with a join token")
	}
	return id, tenant, nil
}
