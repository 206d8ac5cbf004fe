package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/logs"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const maxError = 2000 // bytes of a task's error; the log has the rest

// run is one task the manager knows. The manager's lock guards its fields, except spec and until, which do not change.
type run struct {
	m             *Manager
	spec          *agentv1.TaskSpec
	until         time.Time // when its time is up; zero for never
	secrets       *agentv1.Secrets
	resumed       bool
	awaitsSecrets bool // begun before a restart; the secrets are gone
	replaced      bool // a newer assignment of the same task has taken its place
	refused       bool // never journaled
	cancel        context.CancelCauseFunc
	enqueued      bool
	began         bool

	phase        string
	percent      int32
	progressDue  bool // something of it was not sent
	phaseDue     bool // the phase was not sent
	progressSent time.Time
	startedSent  bool
	finished     *agentv1.TaskFinished
	finishedSent time.Time
}

// until is when the time of a task is up that arrived, or that the journal had, just now. How long it has counts, by the monotonic
// clock; only servers that do not say that go by the host's clock.
func (m *Manager) until(spec *agentv1.TaskSpec) time.Time {
	switch {
	case spec.GetTimeLeft() != nil:
		return m.o.Now().Add(spec.GetTimeLeft().AsDuration())
	case spec.GetDeadline() != nil:
		return spec.GetDeadline().AsTime()
	}
	return time.Time{}
}

// had says how much time the task had.
func (r *run) had() string {
	if left := r.spec.GetTimeLeft(); left != nil {
		return left.AsDuration().Round(time.Millisecond).String()
	}
	return "until " + r.until.UTC().Format(time.RFC3339)
}

func (r *run) cancelWith(cause error) {
	if r.cancel != nil {
		r.cancel(cause)
		return
	}
	r.m.unqueue(r)
}

// do takes the task from the journal's begun to its ended.
func (r *run) do(ctx context.Context) {
	if !r.until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, r.until, ErrDeadline)
		defer cancel()
	}
	executor, err := r.admit()
	if err != nil {
		r.end(ctx, nil, err, nil)
		return
	}
	log, err := r.m.o.Logs.Open(r.spec.GetId(), r.spec.GetAttempt(), secretValues(r.secrets))
	if err != nil {
		r.end(ctx, nil, Retryable(err), nil)
		return
	}
	if err := r.begin(); err != nil {
		r.end(ctx, nil, Retryable(err), log)
		return
	}
	if r.resumed {
		log.Logf("the agent was restarted; the task goes on")
	}
	result, err := r.execute(ctx, executor, log)
	r.end(ctx, result, err, log)
}

// admit finds the executor, if the host's policy and this version have one.
func (r *run) admit() (Executor, error) {
	kind := r.spec.GetKind()
	if r.m.o.Forbidden != nil {
		if err := r.m.o.Forbidden(kind); err != nil {
			return nil, err
		}
	}
	executor, ok := r.m.o.Executors[kind]
	if !ok {
		return nil, fmt.Errorf("this agent (version %s) is too old for tasks of kind %q: upgrade it", r.m.o.Version, kind)
	}
	return executor, nil
}

func (r *run) begin() error {
	if err := r.m.o.Journal.Begin(r.spec.GetId(), r.spec.GetFence()); err != nil {
		return err
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.began = true
	r.m.signal()
	return nil
}

// execute contains panics: one broken executor does not take the host's other tasks with it.
func (r *run) execute(ctx context.Context, executor Executor, log *logs.Log) (result *agentv1.TaskResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.m.o.Log.Error("executor panicked", "task", r.spec.GetId(), "kind", r.spec.GetKind(), "err", p, "stack", string(debug.Stack()))
			result, err = nil, errors.New("the agent broke while it ran the task; its own log on the host has the details")
		}
	}()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return executor.Run(ctx, Task{Spec: r.spec, Secrets: r.secrets, Resumed: r.resumed}, &sink{run: r, log: log})
}

// end settles the task, unless the agent itself is stopping: then the next agent resumes it.
func (r *run) end(ctx context.Context, result *agentv1.TaskResult, err error, log *logs.Log) {
	outcome, err := r.judge(ctx, err)
	if log != nil {
		defer log.Leave()
	}
	if outcome == agentv1.Outcome_OUTCOME_UNSPECIFIED {
		return
	}
	if log != nil && err != nil {
		log.Logf("%s", err)
	}
	err = r.redact(err)
	r.m.mu.Lock()
	r.m.finish(r, outcome, err, result)
	replaced := r.replaced
	r.secrets = &agentv1.Secrets{}
	r.m.mu.Unlock()
	if log != nil && !replaced {
		log.Close()
	}
}

// judge tells how the task ended. Success counts even if a stop came too late.
func (r *run) judge(ctx context.Context, err error) (agentv1.Outcome, error) {
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return agentv1.Outcome_OUTCOME_SUCCEEDED, nil
	case errors.Is(cause, ErrStopping):
		return agentv1.Outcome_OUTCOME_UNSPECIFIED, nil
	case errors.Is(cause, ErrCancelled), errors.Is(cause, ErrSuperseded):
		return agentv1.Outcome_OUTCOME_CANCELLED, cause
	case errors.Is(cause, ErrDeadline):
		return agentv1.Outcome_OUTCOME_FAILED, fmt.Errorf("%w (it had %s)", ErrDeadline, r.had())
	}
	return agentv1.Outcome_OUTCOME_FAILED, err
}

// redact keeps secrets out of the result, where a careless error would bring them.
func (r *run) redact(err error) error {
	if err == nil {
		return nil
	}
	text := logs.RedactText(err.Error(), secretValues(r.secrets))
	if IsRetryable(err) {
		return Retryable(errors.New(text))
	}
	return errors.New(text)
}

func (r *run) result(outcome agentv1.Outcome, err error, result *agentv1.TaskResult) *agentv1.TaskFinished {
	f := &agentv1.TaskFinished{TaskId: r.spec.GetId(), Fence: r.spec.GetFence(), Outcome: outcome, Retryable: IsRetryable(err)}
	if err != nil {
		f.Error = strings.ToValidUTF8(err.Error()[:min(len(err.Error()), maxError)], "")
	}
	if outcome == agentv1.Outcome_OUTCOME_SUCCEEDED {
		f.Result = result
	}
	return f
}

func secretValues(s *agentv1.Secrets) []string {
	var all []string
	for _, v := range s.GetEnv() {
		all = append(all, v)
	}
	if len(s.GetSshKey()) > 0 {
		all = append(all, string(s.GetSshKey()))
	}
	slices.Sort(all)
	return all
}
