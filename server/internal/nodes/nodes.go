package nodes

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"golang.org/x/sync/errgroup"
)

// Caller tells which node an agent's request comes from. It is false for a request that no node signed.
type Caller func(ctx context.Context) (gestor.NodeID, gestor.TenantID, bool)

// Secrets finds what must travel with a task and be stored nowhere.
type Secrets interface {
	ForTask(ctx context.Context, t gestor.Task) (*agentv1.Secrets, error)
}

// Leases is who must hear that an agent still works on its tasks. Only the leader's are called.
type Leases interface {
	// Renew says that an agent was heard at a time and works on tasks.
	Renew(node gestor.NodeID, held []Held, heard time.Time)
	// Excuse says that nobody could be heard for a while, which was no agent's fault.
	Excuse()
}

// Logs keeps what tasks print; *history.Store does, on this server alone.
type Logs interface {
	Append(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (uint64, error)
}

// Blobs keeps artifacts; *blob.Store does, on this server alone.
type Blobs interface {
	Put(ctx context.Context, digest string, size int64, r io.Reader) error
	Get(digest string, offset int64) (io.ReadCloser, error)
	Stat(digest string) (blob.Info, error)
}

// Held is a task that an agent says it holds.
type Held struct {
	Task  gestor.TaskID
	Fence uint64
}

// Options are what a Service is made of. All pointers and interfaces are needed but Peers, Servers and Log.
type Options struct {
	Engine    Engine
	History   Logs
	Blobs     Blobs
	Peers     Peers                                       // nil for a server that is alone
	Servers   func(ctx context.Context) ([]string, error) // where agents reach the servers, host:port; nil if nobody knows
	Secrets   Secrets
	Leases    Leases
	Caller    Caller
	ClusterID gestor.ClusterID
	Version   string
	Times     Times
	Now       func() time.Time // the time of the cluster; time.Now if nil
	Log       *slog.Logger     // nil discards
}

// Times are how long things take. A zero means the default.
type Times struct {
	Heartbeat  time.Duration // between heartbeats; 5 s. Servers report to the leader five times as often
	Suspect    time.Duration // of silence until a node is suspect; 10 s
	Lost       time.Duration // after it was last heard until a node is lost; 15 s
	Lease      time.Duration // told to agents; 30 s
	Hello      time.Duration // how long an agent may take to say hello; 10 s
	CatchUp    time.Duration // how long an agent waits for this server to know what it knows; 5 s
	Server     time.Duration // without a report until the leader takes a server for dead; 3 s
	Leaderless time.Duration // without a leader until agents are sent elsewhere; 3 s
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
	set(&t.CatchUp, 5*time.Second)
	set(&t.Server, 3*time.Second)
	set(&t.Leaderless, 3*time.Second)
	return t
}

// Service is the agents' service on this server.
type Service struct {
	engine  Engine
	history Logs
	blobs   Blobs
	secrets Secrets
	leases  Leases
	caller  Caller
	peers   Peers
	cluster gestor.ClusterID
	version string
	times   Times
	now     func() time.Time // the time of the cluster; what only lasts is measured without it
	log     *slog.Logger
	uploads uploads
	servers addresses

	mu       sync.Mutex
	closing  bool
	counter  uint64 // numbers sessions
	sessions map[gestor.NodeID]*session
	gone     map[gestor.NodeID]bool // whose sessions ended since the last report
	samples  map[gestor.NodeID]sample
	tails    map[string]*tail
	active   sync.WaitGroup // sessions whose handlers have not returned

	feed     feed
	away     atomic.Bool   // there is no leader, so that agents are of no use here, nor is this server to them
	wake     chan struct{} // a session began or ended
	spreadAt time.Time     // when too many sessions were last looked for; of the goroutine that reports

	leading sync.Mutex
	board   *board        // guarded by leading; nil while this server does not lead
	pulse   Pulse         // guarded by leading
	news    chan struct{} // a report came
}

var _ agentv1connect.AgentServiceHandler = (*Service)(nil)

// New makes a Service. It serves once its handler is mounted and Run runs; RunTerm is for when this server leads, and
// Presence for the port of the other servers.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	times := o.Times.withDefaults()
	return &Service{
		now:    o.Now,
		engine: o.Engine, history: o.History, blobs: o.Blobs, secrets: o.Secrets, leases: o.Leases, caller: o.Caller, peers: o.Peers,
		cluster: o.ClusterID, version: o.Version, times: times, log: o.Log.With("component", "nodes"),
		servers: addresses{read: o.Servers}, sessions: map[gestor.NodeID]*session{}, feed: feed{holders: map[gestor.TaskID]gestor.NodeID{}},
		wake: make(chan struct{}, 1), news: make(chan struct{}, 1), pulse: Pulse{Most: times.Suspect / 2},
	}
}

// Run pushes work, watches over this server's sessions and reports them to the leader until ctx ends; then it says goodbye
// to all agents and waits, a few seconds at most, until they have heard it.
func (s *Service) Run(ctx context.Context) error {
	s.watchLeader(time.Now())
	defer s.farewell()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.distribute(ctx) })
	g.Go(func() error { return s.guard(ctx) })
	g.Go(func() error { return s.tell(ctx) })
	g.Go(func() error { return s.revoke(ctx) })
	g.Go(func() error { return s.announce(ctx) })
	return g.Wait()
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
