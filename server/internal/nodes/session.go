package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Sizes of a session's buffers, in messages.
const (
	sendQueue   = 64
	reportQueue = 64
)

// session is one agent's control stream. Four goroutines serve it: the handler's own sends, one reads, one commits
// reports, one pushes. All but the reader have ended when the handler returns; the reader ends with the stream, which
// only the handler's return can close.
type session struct {
	node    gestor.NodeID
	tenant  gestor.TenantID
	name    string
	send    chan *agentv1.SessionResponse
	reports chan *agentv1.SessionRequest
	kick    chan struct{} // the wanted tasks changed
	cancel  context.CancelCauseFunc
	seen    atomic.Int64 // when the agent was last heard, Unix nanoseconds

	mu     sync.Mutex
	wanted map[gestor.TaskID]gestor.Task // what the state says this node holds
	pushed map[Held]bool                 // what the agent has, from its hello or from us
	stops  map[Held]bool                 // cancels sent
}

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
	n, err := s.engine.View(gestor.SystemScope()).Node(ctx, id)
	if err != nil {
		return err
	}
	if err := stream.Send(s.hello()); err != nil {
		return fmt.Errorf("greet node %s: %w", n.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sess := newSession(n, cancel)
	hello := make(chan *agentv1.AgentHello, 1)
	go s.read(ctx, sess, stream, hello)
	h, err := s.await(ctx, hello)
	if err != nil {
		return err
	}
	return s.serve(ctx, sess, stream, h)
}

func newSession(n gestor.Node, cancel context.CancelCauseFunc) *session {
	sess := &session{
		node: n.ID, tenant: n.TenantID, name: n.Name, cancel: cancel,
		send:    make(chan *agentv1.SessionResponse, sendQueue),
		reports: make(chan *agentv1.SessionRequest, reportQueue),
		kick:    make(chan struct{}, 1),
		wanted:  map[gestor.TaskID]gestor.Task{}, pushed: map[Held]bool{}, stops: map[Held]bool{},
	}
	sess.seen.Store(time.Now().UnixNano())
	return sess
}

func (s *Service) hello() *agentv1.SessionResponse {
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Hello{Hello: &agentv1.ServerHello{
		Version:   s.version,
		ClusterId: string(s.cluster),
		Heartbeat: durationpb.New(s.times.Heartbeat),
		Lease:     durationpb.New(s.times.Lease),
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
	for _, t := range h.GetTasks() {
		sess.pushed[Held{gestor.TaskID(t.GetTaskId()), t.GetFence()}] = true
	}
	facts, err := packFacts(h.GetFacts())
	if err != nil {
		return err
	}
	if err := s.enter(sess, facts); err != nil {
		return err
	}
	defer s.leave(ctx, sess)
	// What the node holds must be known before its reports are judged.
	if err := s.share(ctx); err != nil {
		return err
	}
	s.stopStrays(sess)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer sess.cancel(nil)
	workers.Go(func() { s.report(ctx, sess) })
	workers.Go(func() { s.push(ctx, sess) })
	s.leases.Renew(sess.node, heldTasks(h.GetTasks()))
	s.log.Info("node connected", "node", sess.name, "version", h.GetVersion(), "tasks", len(h.GetTasks()))
	return sess.write(ctx, stream)
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
		sess.seen.Store(time.Now().UnixNano())
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
		case <-ctx.Done():
			return
		}
	}
}

// heartbeat renews leases, keeps the load, and stops what this node should not be doing.
func (s *Service) heartbeat(sess *session, h *agentv1.Heartbeat) {
	held := heldTasks(h.GetTasks())
	s.leases.Renew(sess.node, held)
	s.mu.Lock()
	if h.GetLoad() != nil && s.sessions[sess.node] == sess {
		s.loads[sess.node] = h.GetLoad()
	}
	s.mu.Unlock()
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

func (sess *session) signal() {
	select {
	case sess.kick <- struct{}{}:
	default:
	}
}

// enter makes sess the session of its node.
func (s *Service) enter(sess *session, facts []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return fault.Unavailable("the server is stopping").WithRetryAfter(time.Second)
	}
	if old := s.sessions[sess.node]; old != nil {
		old.end(goodbye{"another session of this node began", s.times.Heartbeat})
	}
	s.sessions[sess.node] = sess
	s.arrived(sess, facts)
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
		delete(s.loads, sess.node)
		s.left(sess)
	}
	s.mu.Unlock()
	if !current {
		return
	}
	s.closeTails(sess.node, "the node's connection broke")
	s.log.Info("node disconnected", "node", sess.name, "err", context.Cause(ctx))
}
