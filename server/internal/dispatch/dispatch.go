// Package dispatch gives waiting tasks to nodes, takes them back when a node is gone, and says why others wait.
//
// The decision is scheduler's; bringing a leased task to its agent is nodes'. DESIGN.md explains the leases.
//
// Guarantees. A task is leased at most once at a time, because the state machine refuses a second lease and every lease
// has its own fence. A held task whose node does not renew its lease is lost no earlier than the lease and a margin
// after it was last renewed, and never because of a change of leader.
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/scheduler"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Options are what a Dispatcher is made of.
type Options struct {
	Engine Engine
	Limits scheduler.Limits
	Times  Times
	Now    func() time.Time // the time of the cluster; time.Now if nil
	Log    *slog.Logger     // nil discards
}

// Times are how long things take. A zero means the default.
type Times struct {
	Lease   time.Duration // after a heartbeat; 30 s
	Margin  time.Duration // after the lease until the task is lost; 5 s
	Overdue time.Duration // after a task's deadline until it is cancelled, and again until it fails; 15 s
	Explain time.Duration // between reasons of one task; 1 s
}

func (t Times) withDefaults() Times {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Lease, 30*time.Second)
	set(&t.Margin, 5*time.Second)
	set(&t.Overdue, 15*time.Second)
	set(&t.Explain, time.Second)
	return t
}

// Dispatcher leases tasks while this server leads.
type Dispatcher struct {
	engine Engine
	limits scheduler.Limits
	times  Times
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	renewed map[nodes.Held]time.Time // when a lease was last renewed; guarded by mu
	pulse   nodes.Pulse              // guarded by mu
}

var _ nodes.Leases = (*Dispatcher)(nil)

// New makes a Dispatcher.
func New(o Options) *Dispatcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Dispatcher{
		engine: o.Engine, limits: o.Limits, times: o.Times.withDefaults(), now: o.Now, log: o.Log.With("component", "dispatch"),
		renewed: map[nodes.Held]time.Time{}, pulse: nodes.Pulse{Most: standstill},
	}
}

// Renew records that a node was heard at a time and works on tasks. It is called with every report of a heartbeat and
// stays in memory.
func (d *Dispatcher) Renew(_ gestor.NodeID, held []nodes.Held, heard time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range held {
		if last, ok := d.renewed[h]; ok && heard.After(last) { // only leases this server knows, so that the map is bounded by them
			d.renewed[h] = heard
		}
	}
}

// Excuse lets all leases count from now: this server could hear nobody for a while.
func (d *Dispatcher) Excuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.renewed)
}

// RunTerm leases, loses and explains until ctx ends with this server's leadership.
func (d *Dispatcher) RunTerm(ctx context.Context) error {
	sub := d.engine.Watch(state.Tasks, state.Nodes)
	defer sub.Close()
	nodes := d.engine.Watch(state.Nodes)
	defer nodes.Close()
	t := &term{nodes: nodes.C, Dispatcher: d, memory: newMemory(d.engine), began: time.Now(), explained: map[gestor.TaskID]explanation{}}
	d.mu.Lock()
	clear(d.renewed)
	d.pulse.Stop()
	d.mu.Unlock()
	beating, stop := context.WithCancel(ctx)
	defer stop()
	go d.beat(beating) // ends with the term
	for {
		next, err := t.step(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			d.log.Error("could not dispatch", "err", err)
			next = time.Now().Add(time.Second)
		}
		timer := time.NewTimer(max(time.Until(next), 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-sub.C:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// beat notices pauses of this process, also while a commit takes long.
func (d *Dispatcher) beat(ctx context.Context) {
	tick := time.NewTicker(standstill / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.mu.Lock()
			d.resume(time.Now())
			d.mu.Unlock()
		}
	}
}

// resume lets all leases count from now if this server did not run for a while. d.mu is held.
func (d *Dispatcher) resume(now time.Time) {
	if stood := d.pulse.Beat(now); stood > 0 {
		d.log.Warn("this server stood still; all leases get their time anew", "time", stood)
		clear(d.renewed)
	}
}

// term is one leadership.
type term struct {
	*Dispatcher
	memory    *memory
	nodes     <-chan struct{} // signalled when a node changed
	behind    bool            // a node changed, and the memory may not have it
	began     time.Time
	explained map[gestor.TaskID]explanation
	seen      map[nodes.Held]time.Time // leases, since this term knows them
}

// standstill is without a beat of a process that did not run: it has heard no agent either.
const standstill = 2 * time.Second

// idle is how long the loop rests when nothing is due.
const idle = time.Minute

// step looks at everything once and does what is due. It returns when to look again without a change.
func (t *term) step(ctx context.Context, now time.Time) (time.Time, error) {
	select {
	case <-t.nodes:
		t.behind = true
	default:
	}
	if err := t.memory.refresh(ctx, t.behind); err != nil {
		return time.Time{}, err
	}
	t.behind = false
	snap := t.memory.snapshot(t.limits)
	due, ops := t.overdue(snap.Held)
	said := t.now() // what the times in the state are measured by; now is this server's own
	plan := scheduler.New(snap, said)
	for _, l := range plan.Leases {
		ops = append(ops, command.LeaseTask{ID: l.Task, Node: l.Node})
	}
	reasons, again := t.explain(snap.Queued, plan.Waiting, now)
	if len(reasons) > 0 {
		ops = append(ops, command.ExplainTasks{Waiting: reasons})
	}
	var later time.Time
	if !plan.Next.IsZero() {
		later = now.Add(plan.Next.Sub(said))
	}
	return soonest(now.Add(idle), due, later, again), t.proposeAll(ctx, ops)
}

func soonest(first time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if !o.IsZero() && o.Before(first) {
			first = o
		}
	}
	return first
}

// proposeAll commits ops side by side, so that they share Raft entries. A refusal means that the state has moved on;
// the next step sees it.
func (d *Dispatcher) proposeAll(ctx context.Context, ops []command.Op) error {
	var g errgroup.Group
	g.SetLimit(128)
	for _, op := range ops {
		g.Go(func() error {
			err := d.commit(ctx, op)
			if errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindInvalid) {
				d.log.Debug("proposal was refused", "err", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// commit proposes here and nowhere else: what a leader decided that has lost its leadership without having noticed, after a
// pause perhaps in which it renewed no lease, must not be committed by the next.
func (d *Dispatcher) commit(ctx context.Context, op command.Op) error {
	data, err := command.Marshal(command.Command{At: d.now(), Actor: gestor.SystemActor("dispatch"), Op: op})
	if err != nil {
		return err
	}
	_, err = d.engine.ProposeHere(ctx, data)
	return err
}
