package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/journal"
	"github.com/saas-gestor/gestor/agent/internal/logs"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// Why a task's context ended.
var (
	// ErrCancelled: the server asked for it.
	ErrCancelled = errors.New("stopped on request")
	// ErrSuperseded: the server assigned the same task anew.
	ErrSuperseded = errors.New("assigned anew")
	// ErrDeadline: the task's time is up.
	ErrDeadline = errors.New("the task's time is up")
	// ErrStopping: the agent itself stops; the task goes on when it is back.
	ErrStopping = errors.New("the agent is stopping")
)

// Options are what a Manager needs.
type Options struct {
	Executors map[string]Executor // by kind
	Journal   *journal.Journal
	Logs      *logs.Store
	// Forbidden returns why the host's own policy refuses a kind, nil if it does not; nil forbids nothing.
	Forbidden func(kind string) error
	Version   string
	// Idle, if not nil, is called when the last running task has ended. It returns at once.
	Idle func()
	Log  *slog.Logger
	Now  func() time.Time // time.Now if nil
}

// Manager runs tasks. Its methods are safe for concurrent use.
type Manager struct {
	o       Options
	ctx     context.Context // parent of all tasks; ends with Run
	stop    context.CancelCauseFunc
	changed chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex // guards everything below
	tasks   map[string]*run
	busy    map[string]*run   // the running task of a resource
	queues  map[string][]*run // those that wait for it, in order of fence
	closing bool
}

// New returns a manager with the tasks of the journal. Those that ended are reported again; the others begin with Run,
// except those that had secrets: they wait for their assignment to come again.
func New(o Options) *Manager {
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, stop := context.WithCancelCause(context.Background()) // ends in Run, which owns the tasks
	m := &Manager{
		o: o, ctx: ctx, stop: stop, changed: make(chan struct{}, 1),
		tasks: map[string]*run{}, busy: map[string]*run{}, queues: map[string][]*run{},
	}
	for _, e := range o.Journal.Entries() {
		r := &run{m: m, spec: e.Spec, until: m.until(e.Spec), secrets: &agentv1.Secrets{}, resumed: e.Begun, finished: e.Finished}
		r.awaitsSecrets = e.HasSecrets && e.Finished == nil
		m.tasks[e.Spec.GetId()] = r
	}
	o.Logs.FinishOthers(func(id string) bool { r := m.tasks[id]; return r != nil && r.finished == nil })
	return m
}

// Run resumes what the journal holds, and when ctx ends stops all tasks and waits for them. They stay in the journal, to
// be resumed by the next agent.
func (m *Manager) Run(ctx context.Context) error {
	m.resume() //nolint:contextcheck // tasks end with the manager's own context, which has a reason
	expiry := time.NewTicker(time.Second)
	defer expiry.Stop()
	for {
		select {
		case <-expiry.C:
			m.expireWaiting()
		case <-ctx.Done():
			m.mu.Lock()
			m.closing = true
			m.mu.Unlock()
			m.stop(ErrStopping)
			m.running.Wait()
			return nil
		}
	}
}

func (m *Manager) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.o.Journal.Entries() {
		if r := m.tasks[e.Spec.GetId()]; r != nil && r.finished == nil && !r.awaitsSecrets {
			m.enqueue(r)
		}
	}
}

// expireWaiting ends tasks whose secrets did not come again in time.
func (m *Manager) expireWaiting() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.tasks {
		if r.awaitsSecrets && !r.until.IsZero() && m.o.Now().After(r.until) {
			m.finish(r, agentv1.Outcome_OUTCOME_FAILED, fmt.Errorf("the agent restarted and was not given the task again: %w", ErrDeadline), nil)
		}
	}
}

// Assign takes an assignment: a new one is journaled and run, one that is known is resumed or left alone, a stale one
// is answered with a failure.
func (m *Manager) Assign(a *agentv1.Assignment) {
	spec, secrets := a.GetTask(), a.GetSecrets()
	if spec.GetId() == "" || spec.GetFence() == 0 || spec.GetResource() == "" {
		m.o.Log.Warn("assignment without id, fence or resource ignored", "task", spec.GetId())
		return
	}
	if secrets == nil {
		secrets = &agentv1.Secrets{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return // it comes again at the next hello
	}
	verdict, err := m.o.Journal.Assign(spec, len(secrets.GetEnv()) > 0 || len(secrets.GetSshKey()) > 0)
	switch {
	case errors.Is(err, journal.ErrStale):
		m.refuse(spec, fmt.Errorf("this host has already seen assignment %d for %s, which is newer than %d: "+
			"queue the task again", m.o.Journal.Fence(spec.GetResource()), spec.GetResource(), spec.GetFence()), false)
	case err != nil:
		m.o.Log.Error("assignment not journaled", "task", spec.GetId(), "err", err)
		m.refuse(spec, fmt.Errorf("this host cannot write its journal (%w): free disk space under its data directory", err), true)
	case verdict == journal.New:
		m.start(spec, secrets)
	case verdict == journal.Known:
		m.again(m.tasks[spec.GetId()], secrets)
	}
}

// start runs a task that was just journaled; m.mu is held.
func (m *Manager) start(spec *agentv1.TaskSpec, secrets *agentv1.Secrets) {
	m.dropWaiting(spec.GetResource())
	r := &run{m: m, spec: spec, until: m.until(spec), secrets: secrets}
	if old := m.tasks[spec.GetId()]; old != nil && old.finished == nil {
		old.replaced = true
		old.cancelWith(ErrSuperseded)
	}
	m.tasks[spec.GetId()] = r
	m.enqueue(r)
}

// dropWaiting settles tasks that wait for secrets on a resource the server has given to a newer task.
func (m *Manager) dropWaiting(resource string) {
	for _, r := range m.tasks {
		if r.awaitsSecrets && r.spec.GetResource() == resource {
			r.awaitsSecrets = false
			if m.o.Journal.End(r.result(agentv1.Outcome_OUTCOME_CANCELLED, ErrSuperseded, nil)) == nil {
				r.finished = r.result(agentv1.Outcome_OUTCOME_CANCELLED, ErrSuperseded, nil)
				m.signal()
			}
		}
	}
}

// again handles an assignment that is in the journal already.
func (m *Manager) again(r *run, secrets *agentv1.Secrets) {
	switch {
	case r == nil:
		return
	case r.finished != nil:
		r.finishedSent = time.Time{} // tell at once
	case r.awaitsSecrets:
		r.awaitsSecrets, r.secrets = false, secrets
		m.enqueue(r)
	default:
		r.startedSent = false
	}
	m.signal()
}

// refuse answers an assignment that is not journaled. The answer is sent again only if the assignment comes again.
func (m *Manager) refuse(spec *agentv1.TaskSpec, err error, retryable bool) {
	m.o.Log.Warn("assignment refused", "task", spec.GetId(), "fence", spec.GetFence(), "err", err)
	if m.tasks[spec.GetId()] != nil {
		return // a newer assignment of the same task answers for it
	}
	r := &run{m: m, spec: spec, refused: true}
	if retryable {
		err = Retryable(err)
	}
	r.finished = r.result(agentv1.Outcome_OUTCOME_FAILED, err, nil)
	m.tasks[spec.GetId()] = r
	m.signal()
}

// Cancel stops a task. It ends as cancelled when its executor has returned; one that waits ends at once.
func (m *Manager) Cancel(c *agentv1.CancelTask) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.tasks[c.GetTaskId()]
	if r == nil || r.spec.GetFence() != c.GetFence() || r.finished != nil {
		return
	}
	cause := ErrCancelled
	if c.GetReason() != "" {
		cause = fmt.Errorf("%w: %s", ErrCancelled, c.GetReason())
	}
	if r.cancel != nil {
		r.cancel(cause)
		return
	}
	m.unqueue(r)
	m.finish(r, agentv1.Outcome_OUTCOME_CANCELLED, cause, nil)
}

// Acknowledge forgets a result that the server has committed.
func (m *Manager) Acknowledge(a *agentv1.TaskAcknowledged) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.tasks[a.GetTaskId()]
	if r == nil || r.spec.GetFence() != a.GetFence() || r.finished == nil {
		return
	}
	if !r.refused {
		if err := m.o.Journal.Acknowledge(a.GetTaskId(), a.GetFence()); err != nil {
			m.o.Log.Warn("acknowledgement not journaled", "task", a.GetTaskId(), "err", err)
		}
	}
	delete(m.tasks, a.GetTaskId())
}

// enqueue runs r now or after the tasks of its resource that came before; m.mu is held.
func (m *Manager) enqueue(r *run) {
	if r.enqueued {
		return
	}
	r.enqueued = true
	resource := r.spec.GetResource()
	if m.busy[resource] != nil {
		m.queues[resource] = append(m.queues[resource], r)
		return
	}
	m.launch(r)
}

func (m *Manager) launch(r *run) {
	m.busy[r.spec.GetResource()] = r
	ctx, cancel := context.WithCancelCause(m.ctx)
	r.cancel = cancel
	m.running.Go(func() {
		defer cancel(nil)
		r.do(ctx)
		m.next(r) //nolint:contextcheck // another task does not end with this one
	})
}

// next frees r's resource for the task that waits for it.
func (m *Manager) next(r *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resource := r.spec.GetResource()
	delete(m.busy, resource)
	queue := m.queues[resource]
	if len(queue) == 0 || m.closing {
		delete(m.queues, resource)
		if len(m.busy) == 0 && m.o.Idle != nil {
			m.o.Idle()
		}
		return
	}
	m.queues[resource] = queue[1:]
	m.launch(queue[0])
}

func (m *Manager) unqueue(r *run) {
	resource := r.spec.GetResource()
	for i, q := range m.queues[resource] {
		if q == r {
			m.queues[resource] = append(m.queues[resource][:i:i], m.queues[resource][i+1:]...)
			return
		}
	}
}

// finish journals a result and makes it known; m.mu is held.
func (m *Manager) finish(r *run, outcome agentv1.Outcome, err error, result *agentv1.TaskResult) {
	if r.replaced || r.finished != nil {
		return // a newer assignment of the task answers for it
	}
	finished := r.result(outcome, err, result)
	if jerr := m.o.Journal.End(finished); jerr != nil {
		// The result is still reported. Should the agent die before that, the task runs once more.
		m.o.Log.Error("result not journaled", "task", r.spec.GetId(), "err", jerr)
	}
	r.finished, r.awaitsSecrets = finished, false
	m.signal()
}

func (m *Manager) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}
