// Package agenttest is a control server for tests of the agent: a real Connect server over TLS with real certificates,
// that remembers what agents say and says what a test wants. It has no Raft, no store and no rules.
package agenttest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const waitMost = 20 * time.Second

// Server is one control server. Its methods are safe for concurrent use.
type Server struct {
	t       testing.TB
	ca      *authority
	address string

	mu       sync.Mutex // guards everything below
	http     *http.Server
	changed  chan struct{} // closed and replaced at every change
	session  *liveSession
	hellos   []*agentv1.AgentHello
	beats    int
	started  map[string]int
	progress map[string][]*agentv1.TaskProgress
	finished map[string]*agentv1.TaskFinished
	reports  map[string]int // how often a result came
	held     map[string]*agentv1.Assignment
	tails    map[string]*agentv1.TailEnded
	noAcks   bool
	logs     map[string]*taskLog
	blobs    map[string][]byte
	tokens   map[string]*joinToken
	renewals map[uint64]string // the signing request that followed a generation
	breakGet bool
	servers  []string // told at hello

	loseRenewal bool
}

type taskLog struct {
	lines    []*gestorv1.LogLine
	acked    uint64
	eof      bool
	unwanted bool
}

type liveSession struct {
	send   chan *agentv1.SessionResponse
	cancel context.CancelFunc
}

// New starts a server on a free port of the loopback address; it stops with the test.
func New(t testing.TB) *Server {
	t.Helper()
	return start(t, newAuthority(t))
}

func start(t testing.TB, ca *authority) *Server {
	t.Helper()
	s := &Server{
		t: t, ca: ca, changed: make(chan struct{}),
		started: map[string]int{}, progress: map[string][]*agentv1.TaskProgress{},
		finished: map[string]*agentv1.TaskFinished{}, reports: map[string]int{}, held: map[string]*agentv1.Assignment{},
		tails: map[string]*agentv1.TailEnded{}, logs: map[string]*taskLog{}, blobs: map[string][]byte{},
		tokens: map[string]*joinToken{}, renewals: map[uint64]string{},
	}
	s.listen("127.0.0.1:0")
	t.Cleanup(s.Stop)
	return s
}

// Address is host:port; it stays the same over Stop and Start.
func (s *Server) Address() string { return s.address }

// Start begins to listen again after Stop.
func (s *Server) Start() { s.listen(s.address) }

func (s *Server) listen(address string) {
	s.t.Helper()
	l, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", address)
	if err != nil {
		s.t.Fatalf("listen: %v", err)
	}
	s.address = l.Addr().String()
	mux := http.NewServeMux()
	faults := connect.WithInterceptors(rpc.ServerFaults(func(context.Context) string { return "test" },
		func(_ context.Context, procedure string, err error) { s.t.Logf("%s: %v", procedure, err) }))
	path, sessions := agentv1connect.NewAgentServiceHandler(agentService{s}, faults)
	mux.Handle(path, s.verified(sessions))
	mux.Handle(agentv1connect.NewEnrollmentServiceHandler(enrollmentService{s: s}, faults))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{s.ca.serverCertificate(s.t)},
			ClientAuth: tls.RequestClientCert,
		},
	}
	s.mu.Lock()
	s.http = server
	s.mu.Unlock()
	go func() { _ = server.ServeTLS(l, "", "") }()
}

// Stop closes all connections and refuses new ones. What was heard and stored stays.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.http
	s.mu.Unlock()
	_ = server.Close()
}

// Drop ends the present session as a broken network would; the agent may come back at once.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.session.cancel()
		s.session = nil
	}
}

// Beside starts another server of the same cluster.
func (s *Server) Beside() *Server { return start(s.t, s.ca) }

// Tell says at each hello from now on that these are the servers.
func (s *Server) Tell(servers ...string) { s.update(func() { s.servers = servers }) }

// HoldAcks keeps results from being acknowledged, until it is called with false.
func (s *Server) HoldAcks(hold bool) {
	s.update(func() { s.noAcks = hold })
}

// Assign gives a task to the agent. It is given again, as by a real server, at each hello that does not list it, until
// its result is acknowledged.
func (s *Server) Assign(spec *agentv1.TaskSpec, secrets *agentv1.Secrets) {
	a := &agentv1.Assignment{Task: spec, Secrets: secrets}
	s.update(func() { s.held[spec.GetId()] = a })
	s.Send(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_Assign{Assign: a}})
}

// Cancel asks the agent to stop a task.
func (s *Server) Cancel(id string, fence uint64) {
	s.Send(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_Cancel{
		Cancel: &agentv1.CancelTask{TaskId: id, Fence: fence, Reason: "a test wants it"},
	}})
}

// Goodbye tells the agent to go away for a while.
func (s *Server) Goodbye(retryAfter time.Duration) {
	s.Send(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_Goodbye{
		Goodbye: &agentv1.Goodbye{RetryAfter: durationpb.New(retryAfter), Reason: "a test wants it"},
	}})
}

// OpenTail asks for an app's output.
func (s *Server) OpenTail(t *agentv1.OpenTail) {
	s.Send(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_OpenTail{OpenTail: t}})
}

// Send says anything to the agent, if there is a session.
func (s *Server) Send(m *agentv1.SessionResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.session.send <- m
	}
}

// RefuseLog answers what is sent under a log id with "unwanted".
func (s *Server) RefuseLog(id string) {
	s.update(func() { s.log(id).unwanted = true })
}

// PutBlob stores a blob for agents to get; BreakNextGet ends the next transfer in its middle.
func (s *Server) PutBlob(digest string, b []byte) { s.update(func() { s.blobs[digest] = b }) }

// BreakNextGet makes the next download break off half-way.
func (s *Server) BreakNextGet() { s.update(func() { s.breakGet = true }) }

func (s *Server) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) log(id string) *taskLog {
	if s.logs[id] == nil {
		s.logs[id] = &taskLog{}
	}
	return s.logs[id]
}
