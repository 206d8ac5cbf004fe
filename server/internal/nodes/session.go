package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Sizes of a session's buffers, in messages.
const (
	sendQueue   = 64
	reportQueue = 32
)

// session is one agent's control stream. Two goroutines serve it: the handler's own sends, one reads; two more come and go
// with what there is to do: one commits reports, one pushes. All but the reader have ended when the handler returns; the
// reader ends with the stream, which only the handler's return can close.
type session struct {
	node      gestor.NodeID
	tenant    gestor.TenantID
	name      string
	number    uint64 // counts this server's sessions
	order     uint64 // counts the node's; 0 if its agent does not
	facts     []byte
	began     time.Time
	seen      atomic.Int64 // when the agent was last heard, nanoseconds after began
	send      chan *agentv1.SessionResponse
	reports   chan *agentv1.SessionRequest
	pusher    worker // brings what is wanted
	committer worker // commits what is reported
	cancel    context.CancelCauseFunc

	mu        sync.Mutex
	wanted    map[gestor.TaskID]gestor.Task // what the state says this node holds; nil for nothing, as are the next two
	pushed    map[Held]bool                 // what the agent has, from its hello or from us
	stops     map[Held]bool                 // cancels sent
	recalled  bool                          // wanted is known
	held      []*agentv1.HeldTask           // what it says it works on
	load      *gestorv1.NodeLoad
	loadNew   bool     // the leader was not told
	factsTold bool     // it was
	toldSeen  int64    // what of seen it was told
	told      []string // where the servers are, as the hello had it
}

// heard is when the agent was last heard.
func (sess *session) heard() time.Time { return sess.began.Add(time.Duration(sess.seen.Load())) }

// goodbye is the cause with which a session is ended on purpose.
type goodbye struct {
	reason string
	retry  time.Duration
}

func (g goodbye) Error() string { return g.reason }

// errSlow ends a session whose agent does not read.
var errSlow = errors.New("the agent does not read what it is sent")

type sessionStream = connect.BidiStream[agentv1.SessionRequest, agentv1.SessionResponse]

// Session is an agent's control stream.
func (s *Service) Session(ctx context.Context, stream *sessionStream) error {
	id, _, err := s.node(ctx)
	if err != nil {
		return err
	}
	if err := s.welcome(); err != nil {
		return err
	}
	n, err := s.engine.View(gestor.SystemScope()).Node(ctx, id)
	if err != nil {
		return err
	}
	greeting := s.hello(ctx)
	if err := stream.Send(greeting); err != nil {
		return fmt.Errorf("greet node %s: %w", n.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sess := newSession(n, cancel)
	sess.told = greeting.GetHello().GetServers()
	hello := make(chan *agentv1.AgentHello, 1)
	go s.read(ctx, sess, stream, hello)
	h, err := s.await(ctx, hello)
	if err != nil {
		return err
	}
	return s.serve(ctx, sess, stream, h)
}

func newSession(n gestor.Node, cancel context.CancelCauseFunc) *session {
	return &session{
		node: n.ID, tenant: n.TenantID, name: n.Name, began: time.Now(), cancel: cancel,
		send:    make(chan *agentv1.SessionResponse, sendQueue),
		reports: make(chan *agentv1.SessionRequest, reportQueue),
	}
}

func (s *Service) hello(ctx context.Context) *agentv1.SessionResponse {
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Hello{Hello: &agentv1.ServerHello{
		Version:   s.version,
		ClusterId: string(s.cluster),
		Heartbeat: durationpb.New(s.times.Heartbeat),
		Lease:     durationpb.New(s.times.Lease),
		Servers:   s.servers.get(ctx),
	}}}
}

// await waits for the agent's hello.
func (s *Service) await(ctx context.Context, hello <-chan *agentv1.AgentHello) (*agentv1.AgentHello, error) {
	timer := time.NewTimer(s.times.Hello)
	defer timer.Stop()
	select {
	case h := <-hello:
		return h, nil
	case <-ctx.Done():
		return nil, ended(ctx)
	case <-timer.C:
		return nil, fault.Timeout("the agent said no hello within %s", s.times.Hello)
	}
}

// serve runs a session from its hello to its end.
func (s *Service) serve(ctx context.Context, sess *session, stream *sessionStream, h *agentv1.AgentHello) error {
	if err := s.greet(sess, h); err != nil {
		return err
	}
	// Of what this server does not know yet it must not say that it is not so.
	if err := s.catchUp(ctx, h); err != nil {
		return err
	}
	if err := s.enter(sess); err != nil {
		return err
	}
	defer s.leave(ctx, sess)
	if again := s.hello(ctx); !slices.Equal(again.GetHello().GetServers(), sess.told) {
		sess.offer(again) // they changed before the session was one of those that are told
	}
	// What the node holds must be known before its reports are judged.
	if err := s.recall(ctx, sess); err != nil {
		if ctx.Err() != nil {
			return sess.write(ctx, stream) // the session was ended meanwhile, perhaps with a goodbye
		}
		return err
	}
	s.stopStrays(sess)
	defer sess.committer.close()
	defer sess.pusher.close()
	defer sess.cancel(nil)
	sess.pusher.begin(func() { s.push(ctx, sess) })
	sess.committer.begin(func() { s.report(ctx, sess) })
	s.log.Info("node connected", "node", sess.name, "version", h.GetVersion(), "tasks", len(h.GetTasks()))
	return sess.write(ctx, stream)
}

// greet notes what the agent says of itself.
func (s *Service) greet(sess *session, h *agentv1.AgentHello) error {
	facts, err := packFacts(h.GetFacts())
	if err != nil {
		return err
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.order, sess.facts, sess.held = h.GetSession(), facts, h.GetTasks()
	for _, t := range h.GetTasks() {
		put(&sess.pushed, Held{gestor.TaskID(t.GetTaskId()), t.GetFence()}, true)
	}
	return nil
}

// catchUp waits until this server knows all that the agent knows: what it was told by another server.
func (s *Service) catchUp(ctx context.Context, h *agentv1.AgentHello) error {
	revision := h.GetRevision()
	for _, t := range h.GetTasks() {
		revision = max(revision, t.GetFence())
	}
	return s.reach(ctx, revision)
}

// reach waits, for a few seconds, until this server has applied a revision.
func (s *Service) reach(ctx context.Context, revision uint64) error {
	limited, cancel := context.WithTimeout(ctx, s.times.CatchUp)
	defer cancel()
	err := s.engine.Wait(limited, revision)
	if err != nil && ctx.Err() == nil {
		return fault.Unavailable("this server is behind what the agent has seen already").WithRetryAfter(time.Second)
	}
	return err
}

// put sets an entry of a map that is made when it is needed.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// write sends what is queued until the session ends.
func (sess *session) write(ctx context.Context, stream *sessionStream) error {
	for {
		select {
		case m := <-sess.send:
			if err := stream.Send(m); err != nil {
				return fmt.Errorf("send to node %s: %w", sess.name, err)
			}
		case <-ctx.Done():
			g, ok := errors.AsType[goodbye](context.Cause(ctx))
			if !ok {
				return ended(ctx)
			}
			return stream.Send(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_Goodbye{Goodbye: &agentv1.Goodbye{
				Reason: g.reason, RetryAfter: durationpb.New(g.retry),
			}}})
		}
	}
}

// ended says why a session's context is over; nil if the agent left.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, io.EOF) || errors.Is(cause, context.Canceled) {
		return nil
	}
	if errors.Is(cause, errSlow) {
		return fault.Exhausted("%s", errSlow)
	}
	return cause
}

// read takes what the agent says until the stream ends. It never blocks on the state, so that heartbeats are heard
// also while a commit takes long.
func (s *Service) read(ctx context.Context, sess *session, stream *sessionStream, hello chan<- *agentv1.AgentHello) {
	greeted := false
	for {
		m, err := stream.Receive()
		if err != nil {
			sess.end(fmt.Errorf("receive: %w", err))
			return
		}
		sess.seen.Store(int64(time.Since(sess.began)))
		switch m := m.GetMessage().(type) {
		case *agentv1.SessionRequest_Hello:
			if greeted {
				sess.end(fault.Invalid("hello", "was said twice"))
				return
			}
			greeted = true
			hello <- m.Hello
			continue
		case *agentv1.SessionRequest_Heartbeat:
			s.heartbeat(sess, m.Heartbeat)
			continue
		case *agentv1.SessionRequest_TailEnded:
			s.tailEnded(sess.node, m.TailEnded)
			continue
		}
		select {
		case sess.reports <- m:
			sess.committer.kick()
		case <-ctx.Done():
			return
		}
	}
}

// heartbeat notes the load and the tasks whose leases the leader is to renew.
func (s *Service) heartbeat(sess *session, h *agentv1.Heartbeat) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.held = h.GetTasks()
	if h.GetLoad() != nil {
		sess.load, sess.loadNew = h.GetLoad(), true
	}
}

func heldTasks(in []*agentv1.HeldTask) []Held {
	out := make([]Held, 0, len(in))
	for _, t := range in {
		out = append(out, Held{gestor.TaskID(t.GetTaskId()), t.GetFence()})
	}
	return out
}

// offer queues a message; a full queue ends the session.
func (sess *session) offer(m *agentv1.SessionResponse) bool {
	select {
	case sess.send <- m:
		return true
	default:
		sess.end(errSlow)
		return false
	}
}

func (sess *session) end(cause error) { sess.cancel(cause) }

// enter makes sess the session of its node.
func (s *Service) enter(sess *session) error {
	if err := s.welcome(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return fault.Unavailable("the server is stopping").WithRetryAfter(time.Second)
	}
	if old := s.sessions[sess.node]; old != nil {
		old.end(goodbye{"another session of this node began", s.times.Heartbeat})
	}
	s.counter++
	sess.number = s.counter
	s.sessions[sess.node] = sess
	delete(s.gone, sess.node)
	s.stir()
	s.active.Add(1)
	return nil
}

// leave forgets sess, unless a newer session took its place.
func (s *Service) leave(ctx context.Context, sess *session) {
	defer s.active.Done()
	s.mu.Lock()
	current := s.sessions[sess.node] == sess
	if current {
		delete(s.sessions, sess.node)
		s.nodeGone(sess.node)
	}
	s.mu.Unlock()
	if !current {
		return
	}
	s.closeTails(sess.node, "the node's connection broke")
	s.log.Info("node disconnected", "node", sess.name, "err", context.Cause(ctx))
}
