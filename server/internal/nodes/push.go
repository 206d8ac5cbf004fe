package nodes

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// feed is how far the sessions have been told of changes of tasks.
type feed struct {
	mu      sync.Mutex // one reader of the state at a time, so that nothing older is handed out later
	since   uint64     // the revision they know everything up to
	holders map[gestor.TaskID]gestor.NodeID
}

const (
	reshareEvery = time.Minute // all held tasks are read again, in case something was missed: a snapshot may hide that a task ended
	retryEvery   = time.Second // after a read that failed
)

// distribute tells the sessions what their nodes hold, at each change.
func (s *Service) distribute(ctx context.Context) error {
	sub := s.engine.Watch(state.Tasks)
	defer sub.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		share, next := s.shareChanges, time.Duration(0)
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		case <-timer.C:
			share, next = s.shareAll, reshareEvery
		}
		if err := share(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("could not read the tasks to push", "err", err)
			next = retryEvery
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// shareAll reads what is held, once for all sessions, and hands each its part.
func (s *Service) shareAll(ctx context.Context) error {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	view := s.engine.View(gestor.SystemScope())
	newest, _, err := view.Tasks(ctx, state.TaskFilter{}, gestor.Page{Size: 1})
	if err != nil {
		return err
	}
	held, err := view.HeldTasks(ctx, "")
	if err != nil {
		return err
	}
	holders, parts := map[gestor.TaskID]gestor.NodeID{}, map[gestor.NodeID]map[gestor.TaskID]gestor.Task{}
	var since uint64 // what follows is newer than one of these, and few
	for _, t := range append(newest, held...) {
		since = max(since, t.Revision)
	}
	for _, t := range held {
		holders[t.ID] = t.NodeID
		part := parts[t.NodeID]
		put(&part, t.ID, t)
		parts[t.NodeID] = part
	}
	s.feed.since, s.feed.holders = since, holders
	for _, sess := range s.snapshot() {
		sess.want(parts[sess.node])
	}
	return nil
}

// shareChanges reads the tasks that have changed and hands them to the sessions they concern.
func (s *Service) shareChanges(ctx context.Context) error {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	changed, err := s.engine.View(gestor.SystemScope()).TasksChangedSince(ctx, s.feed.since)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range changed {
		s.feed.since = max(s.feed.since, t.Revision)
		s.hand(t)
	}
	return nil
}

// hand tells whom it concerns that a task has changed. s.feed.mu and s.mu are held.
func (s *Service) hand(t gestor.Task) {
	before, now := s.feed.holders[t.ID], gestor.NodeID("")
	if t.State.Held() {
		now = t.NodeID
	}
	if sess := s.sessions[before]; sess != nil && before != now {
		sess.drop(t.ID)
	}
	if now == "" {
		delete(s.feed.holders, t.ID)
		return
	}
	s.feed.holders[t.ID] = now
	if sess := s.sessions[now]; sess != nil {
		sess.give(t)
	}
}

// recall reads what a new session's node holds.
func (s *Service) recall(ctx context.Context, sess *session) error {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	held, err := s.engine.View(gestor.SystemScope()).HeldTasks(ctx, sess.node)
	if err != nil {
		return err
	}
	var part map[gestor.TaskID]gestor.Task
	for _, t := range held {
		put(&part, t.ID, t)
		s.feed.holders[t.ID] = t.NodeID
	}
	sess.want(part)
	return nil
}

// want sets all that the node is to do.
func (sess *session) want(tasks map[gestor.TaskID]gestor.Task) {
	sess.mu.Lock()
	sess.wanted, sess.recalled = tasks, true
	sess.mu.Unlock()
	sess.pusher.kick()
}

// give adds or changes one task, and drop takes one away. The agent is told of it unless it only got further.
func (sess *session) give(t gestor.Task) {
	sess.mu.Lock()
	old, had := sess.wanted[t.ID]
	put(&sess.wanted, t.ID, t)
	sess.mu.Unlock()
	if !had || old.Fence != t.Fence || old.Cancelling != t.Cancelling {
		sess.pusher.kick()
	}
}

func (sess *session) drop(id gestor.TaskID) {
	sess.mu.Lock()
	delete(sess.wanted, id)
	if len(sess.wanted) == 0 {
		sess.wanted = nil
	}
	sess.mu.Unlock()
	sess.pusher.kick()
}

// push brings the agent what it has not been told yet.
func (s *Service) push(ctx context.Context, sess *session) {
	for _, t := range sess.untold() {
		if ctx.Err() != nil || !s.bring(ctx, sess, t) {
			return
		}
	}
}

// stopStrays cancels what the agent's journal holds and the state does not give it: its result would be refused.
func (s *Service) stopStrays(sess *session) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	for h := range sess.pushed {
		if t, ok := sess.wanted[h.Task]; !ok || t.Fence != h.Fence {
			sess.offer(cancelTask(h, "it is no longer assigned to this node"))
		}
	}
}

// untold are the tasks the agent has not been told about, or not that they are to stop. What is over is forgotten.
func (sess *session) untold() []gestor.Task {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	var out []gestor.Task
	for _, t := range sess.wanted {
		h := Held{t.ID, t.Fence}
		if !sess.pushed[h] && !t.Cancelling || t.Cancelling && !sess.stops[h] {
			out = append(out, t)
		}
	}
	for h := range sess.pushed {
		if t, ok := sess.wanted[h.Task]; !ok || t.Fence != h.Fence {
			delete(sess.pushed, h)
			delete(sess.stops, h)
		}
	}
	return out
}

// bring sends one task or its cancel. It reports whether the session goes on.
func (s *Service) bring(ctx context.Context, sess *session, t gestor.Task) bool {
	h := Held{t.ID, t.Fence}
	if t.Cancelling {
		return s.halt(ctx, sess, t)
	}
	m, err := s.assignment(ctx, t)
	if err != nil {
		if ctx.Err() != nil {
			return false
		}
		s.log.Error("could not assign a task", "node", sess.name, "task", t.ID, "err", err)
		s.failUndelivered(ctx, t, err)
		return true
	}
	sess.note(func() { put(&sess.pushed, h, true) })
	return sess.offer(m)
}

// halt stops a task. One that the agent was never given cannot be stopped there, and nobody would ever report its end:
// it is ended here.
func (s *Service) halt(ctx context.Context, sess *session, t gestor.Task) bool {
	h := Held{t.ID, t.Fence}
	given := false
	sess.note(func() {
		given = sess.pushed[h]
		put(&sess.pushed, h, true)
		put(&sess.stops, h, true)
	})
	if given {
		return sess.offer(cancelTask(h, "it was cancelled"))
	}
	op := command.FinishTask{ID: t.ID, Fence: t.Fence, Outcome: gestor.TaskCancelled, Error: "it was cancelled before it began"}
	if err := s.insist(ctx, gestor.SystemActor("nodes"), op); err != nil && ctx.Err() == nil {
		s.log.Warn("could not end a cancelled task", "task", t.ID, "err", err)
	}
	return ctx.Err() == nil
}

func (sess *session) note(f func()) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	f()
}

// assignment is a task as an agent gets it: the stored spec with what this attempt adds.
func (s *Service) assignment(ctx context.Context, t gestor.Task) (*agentv1.SessionResponse, error) {
	spec := &agentv1.TaskSpec{}
	if err := proto.Unmarshal(t.Spec, spec); err != nil {
		return nil, err
	}
	spec.Id, spec.Kind, spec.Resource = string(t.ID), t.Kind, t.Resource
	spec.Attempt, spec.Fence = int32(t.Attempt), t.Fence
	if !t.Deadline.IsZero() {
		spec.Deadline = timestamppb.New(t.Deadline)
	}
	if t.Timeout > 0 {
		spec.TimeLeft = durationpb.New(s.timeLeft(t))
	}
	secrets, err := s.secrets.ForTask(ctx, t)
	if err != nil {
		return nil, err
	}
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Assign{Assign: &agentv1.Assignment{Task: spec, Secrets: secrets}}}, nil
}

// timeLeft is how long a held task may still take: all of its time where its deadline is of a clock that was set since. The leader
// ends what takes too long, whatever the agent makes of this.
func (s *Service) timeLeft(t gestor.Task) time.Duration {
	if left := t.Deadline.Sub(s.now()); left > 0 && left < t.Timeout {
		return left
	}
	return t.Timeout
}

func cancelTask(h Held, why string) *agentv1.SessionResponse {
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Cancel{Cancel: &agentv1.CancelTask{
		TaskId: string(h.Task), Fence: h.Fence, Reason: why,
	}}}
}

func acknowledge(task string, fence uint64) *agentv1.SessionResponse {
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Acknowledged{Acknowledged: &agentv1.TaskAcknowledged{
		TaskId: task, Fence: fence,
	}}}
}

// proposeTimeout bounds one attempt to commit.
const proposeTimeout = 10 * time.Second
