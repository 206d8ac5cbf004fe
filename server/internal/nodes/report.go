package nodes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// report commits what the agent has reported, in the order it reported it.
func (s *Service) report(ctx context.Context, sess *session) {
	for ctx.Err() == nil {
		select {
		case m := <-sess.reports:
			for _, m := range current(waiting(m, sess.reports)) {
				s.hear(ctx, sess, m)
			}
		default:
			return
		}
	}
}

// waiting is first and what is behind it.
func waiting(first *agentv1.SessionRequest, rest <-chan *agentv1.SessionRequest) []*agentv1.SessionRequest {
	out := []*agentv1.SessionRequest{first}
	for {
		select {
		case m := <-rest:
			out = append(out, m)
		default:
			return out
		}
	}
}

// current drops reports of progress that a later report makes old, so that a server which cannot keep up commits what
// matters.
func current(reports []*agentv1.SessionRequest) []*agentv1.SessionRequest {
	newer := map[Held]bool{}
	var out []*agentv1.SessionRequest
	for _, m := range slices.Backward(reports) {
		p, f := m.GetProgress(), m.GetFinished()
		switch {
		case p != nil:
			h := Held{gestor.TaskID(p.GetTaskId()), p.GetFence()}
			if newer[h] {
				continue
			}
			newer[h] = true
		case f != nil:
			newer[Held{gestor.TaskID(f.GetTaskId()), f.GetFence()}] = true
		}
		out = append(out, m)
	}
	slices.Reverse(out)
	return out
}

func (s *Service) hear(ctx context.Context, sess *session, m *agentv1.SessionRequest) {
	switch m := m.GetMessage().(type) {
	case *agentv1.SessionRequest_Started:
		h := Held{gestor.TaskID(m.Started.GetTaskId()), m.Started.GetFence()}
		s.told(ctx, sess, h, command.StartTask{ID: h.Task, Fence: h.Fence})
	case *agentv1.SessionRequest_Progress:
		p := m.Progress
		h := Held{gestor.TaskID(p.GetTaskId()), p.GetFence()}
		s.told(ctx, sess, h, command.ReportTask{ID: h.Task, Fence: h.Fence, Phase: clip(p.GetPhase(), 100), Percent: int(min(p.GetPercent(), 100))})
	case *agentv1.SessionRequest_Finished:
		s.finished(ctx, sess, m.Finished)
	}
}

// told commits that a task began or got further. If the task is not this node's, it is told to stop.
func (s *Service) told(ctx context.Context, sess *session, h Held, op command.Op) {
	if !sess.has(h) {
		sess.offer(cancelTask(h, "it is not assigned to this node"))
		return
	}
	err := s.insist(ctx, sess.actor(), op)
	if err != nil && ctx.Err() == nil {
		s.log.Debug("report was refused", "node", sess.name, "task", h.Task, "err", err)
		if ofNoInterest(err) {
			sess.offer(cancelTask(h, "it is no longer assigned to this node"))
		}
	}
}

// finished commits an outcome and acknowledges it once it is committed, or known to be of no interest. Anything else
// is left unanswered: the agent keeps its result and reports it again.
func (s *Service) finished(ctx context.Context, sess *session, f *agentv1.TaskFinished) {
	op, err := outcome(f)
	if err == nil {
		op, err = s.backed(op, f.GetResult())
	}
	if err == nil && s.foreign(ctx, sess, op.ID, op.Fence) {
		err = fault.NotFound("task %s is not of this node", op.ID)
	}
	if err == nil {
		err = s.insist(ctx, sess.actor(), op)
	}
	if err != nil && !ofNoInterest(err) {
		if ctx.Err() == nil {
			s.log.Error("could not commit a result", "node", sess.name, "task", f.GetTaskId(), "err", err)
		}
		return
	}
	sess.offer(acknowledge(f.GetTaskId(), f.GetFence()))
}

// foreign reports whether another node holds the task with that fence: an agent speaks for its own tasks only.
func (s *Service) foreign(ctx context.Context, sess *session, id gestor.TaskID, fence uint64) bool {
	if sess.has(Held{id, fence}) {
		return false
	}
	t, err := s.engine.View(gestor.SystemScope()).Task(ctx, id)
	return err == nil && t.NodeID != sess.node
}

func (sess *session) has(h Held) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	t, ok := sess.wanted[h.Task]
	return ok && t.Fence == h.Fence
}

// ofNoInterest reports whether a refusal means that the task has moved on: it is unknown or its fence is stale.
func ofNoInterest(err error) bool {
	return errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindInvalid)
}

var outcomes = map[agentv1.Outcome]gestor.TaskState{
	agentv1.Outcome_OUTCOME_SUCCEEDED: gestor.TaskSucceeded,
	agentv1.Outcome_OUTCOME_FAILED:    gestor.TaskFailed,
	agentv1.Outcome_OUTCOME_CANCELLED: gestor.TaskCancelled,
}

// Most that is stored of a result.
const (
	maxError  = 16 << 10
	maxResult = 256 << 10
)

func outcome(f *agentv1.TaskFinished) (command.FinishTask, error) {
	op := command.FinishTask{
		ID: gestor.TaskID(f.GetTaskId()), Fence: f.GetFence(), Outcome: outcomes[f.GetOutcome()],
		Error: clip(f.GetError(), maxError), Retryable: f.GetRetryable(),
	}
	if op.Outcome == "" {
		op.Outcome, op.Error = gestor.TaskFailed, "the agent reported an outcome this server does not know; update the server"
	}
	if f.GetResult() == nil {
		return op, nil
	}
	result, err := proto.MarshalOptions{Deterministic: true}.Marshal(f.GetResult())
	if err == nil && len(result) > maxResult {
		op.Outcome, op.Error = gestor.TaskFailed, "the task's result is too large to be stored"
		return op, nil
	}
	op.Result = result
	return op, err
}

func (sess *session) actor() gestor.Actor {
	return gestor.Actor{Kind: "agent", ID: string(sess.node), Name: sess.name, TenantID: sess.tenant}
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// insist proposes until the command is committed or refused for good: a leader may be missing for a moment.
func (s *Service) insist(ctx context.Context, by gestor.Actor, op command.Op) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := s.propose(ctx, by, op)
		if !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (s *Service) propose(ctx context.Context, by gestor.Actor, op command.Op) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	_, err := s.engine.Propose(ctx, command.Command{At: time.Now(), Actor: by, Op: op})
	return err
}

// passing reports whether trying again may help.
func passing(err error) bool {
	return errors.Is(err, fault.KindUnavailable) || errors.Is(err, fault.KindExhausted) ||
		errors.Is(err, fault.KindTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// failUndelivered fails a task that could not be handed to its node: it would wait there for ever.
func (s *Service) failUndelivered(ctx context.Context, t gestor.Task, cause error) {
	why := "the server could not hand the task to its node; its log has the reason"
	if fault.KindOf(cause) != fault.KindInternal {
		why = cause.Error()
	}
	op := command.FinishTask{ID: t.ID, Fence: t.Fence, Outcome: gestor.TaskFailed, Error: why}
	if err := s.insist(ctx, gestor.SystemActor("nodes"), op); err != nil {
		s.log.Error("could not fail a task", "task", t.ID, "err", err)
	}
}
