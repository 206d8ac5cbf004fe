package nodes

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// distribute tells the sessions what their nodes hold, at each change.
func (s *Service) distribute(ctx context.Context) error {
	sub := s.engine.Watch(state.Tasks)
	defer sub.Close()
	for {
		if err := s.share(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("could not read the tasks to push", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		}
	}
}

// share reads what is held, once for all sessions, and hands each its part.
func (s *Service) share(ctx context.Context) error {
	s.sharing.Lock()
	defer s.sharing.Unlock()
	held, err := s.engine.View(gestor.SystemScope()).HeldTasks(ctx, "")
	if err != nil {
		return err
	}
	parts := map[gestor.NodeID]map[gestor.TaskID]gestor.Task{}
	for _, t := range held {
		if parts[t.NodeID] == nil {
			parts[t.NodeID] = map[gestor.TaskID]gestor.Task{}
		}
		parts[t.NodeID][t.ID] = t
	}
	for _, sess := range s.snapshot() {
		sess.want(parts[sess.node])
	}
	return nil
}

func (s *Service) snapshot() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, sess := range s.sessions {
		out = append(out, sess)
	}
	return out
}

func (sess *session) want(tasks map[gestor.TaskID]gestor.Task) {
	sess.mu.Lock()
	sess.wanted = tasks
	sess.mu.Unlock()
	sess.signal()
}

// push brings the agent what it is to do, until the session ends.
func (s *Service) push(ctx context.Context, sess *session) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sess.kick:
		}
		for _, t := range sess.news() {
			if !s.bring(ctx, sess, t) {
				return
			}
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

// news are the tasks the agent has not been told about, or not that they are to stop. What is over is forgotten.
func (sess *session) news() []gestor.Task {
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
		s.refuse(ctx, t, err)
		return true
	}
	sess.note(func() { sess.pushed[h] = true })
	return sess.offer(m)
}

// halt stops a task. One that the agent was never given cannot be stopped there, and nobody would ever report its end:
// it is ended here.
func (s *Service) halt(ctx context.Context, sess *session, t gestor.Task) bool {
	h := Held{t.ID, t.Fence}
	given := false
	sess.note(func() {
		given = sess.pushed[h]
		sess.pushed[h], sess.stops[h] = true, true
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
	secrets, err := s.secrets.ForTask(ctx, t)
	if err != nil {
		return nil, err
	}
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Assign{Assign: &agentv1.Assignment{Task: spec, Secrets: secrets}}}, nil
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
