package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// life is what a task's life should be: as little as says what may happen next. TestTaskLife holds the state machine
// against it.
type life struct {
	state      gestor.TaskState
	node       gestor.NodeID
	free       bool // may go to any node
	resource   string
	attempt    int
	most       int
	fence      uint64
	stale      []uint64 // fences of earlier attempts
	cancelling bool
	onLost     gestor.OnLost
	due        time.Time
}

// lives drives a world and a model of it, side by side.
type lives struct {
	*world
	r     *rapid.T
	tasks map[gestor.TaskID]*life
	fence uint64 // the highest ever
	ends  map[gestor.TaskID]gestor.TaskState
}

var lifeNodes = []gestor.NodeID{"nod_1", "nod_2"}

func newLives(t *testing.T, r *rapid.T) *lives {
	t.Helper()
	w := newWorld(t)
	w.must(command.CreateJoinToken{Token: newToken("join_2", "nod_2", "web2")})
	w.must(command.EnrollNode{TokenID: "join_2", SecretHash: secret, SPKI: hashOf("k2")})
	return &lives{world: w, r: r, tasks: map[gestor.TaskID]*life{}, ends: map[gestor.TaskID]gestor.TaskState{}}
}

// try applies op and checks that it is accepted exactly if the model says so. It returns the revision.
func (l *lives) try(allowed bool, op command.Op) (revision uint64, ok bool) {
	got := l.do(op)
	if (got.Err == nil) != allowed {
		l.r.Fatalf("%T %+v: got %v, the model says %v", op, op, got.Err, allowed)
	}
	return got.Receipt.Revision, got.Err == nil
}

// pick draws one of the tasks that were made.
func (l *lives) pick(r *rapid.T) (gestor.TaskID, *life) {
	if len(l.tasks) == 0 {
		r.Skip("no task yet")
	}
	ids := make([]gestor.TaskID, 0, len(l.tasks))
	for id := range l.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(r, "task")
	return id, l.tasks[id]
}

// word draws a fence to report under, mostly the task's own, and tells whether it is that of a holder.
func (l *lives) word(r *rapid.T, x *life) (fence uint64, holds bool) {
	fences := append([]uint64{x.fence, x.fence, x.fence, x.fence + 1}, x.stale...)
	fence = rapid.SampledFrom(fences).Draw(r, "fence")
	return fence, fence == x.fence && x.state.Held()
}

func (l *lives) create(r *rapid.T) {
	id := gestor.TaskID(fmt.Sprint("tsk_", len(l.tasks)+1))
	x := &life{
		state: gestor.TaskQueued, free: rapid.Bool().Draw(r, "free"), most: rapid.IntRange(1, 3).Draw(r, "attempts"),
		resource: rapid.SampledFrom([]string{"app/shop", "task/" + string(id)}).Draw(r, "resource"),
		onLost:   rapid.SampledFrom([]gestor.OnLost{gestor.LostRetry, gestor.LostHold}).Draw(r, "on lost"),
	}
	spec, err := proto.Marshal(&agentv1.TaskSpec{Resource: x.resource})
	if err != nil {
		r.Fatal(err)
	}
	task := gestor.Task{ID: id, Kind: gestor.TaskDetect, MaxAttempts: x.most, Timeout: time.Minute, OnLost: x.onLost, Spec: spec}
	if x.free {
		if rapid.Bool().Draw(r, "named") {
			task.Candidates = lifeNodes
		}
	} else {
		x.node = rapid.SampledFrom(lifeNodes).Draw(r, "node")
		task.Kind, task.NodeID = gestor.TaskWatch, x.node // a look may be done anywhere
	}
	l.try(true, command.CreateTask{Task: task})
	l.tasks[id] = x
}

func (l *lives) lease(r *rapid.T) {
	id, x := l.pick(r)
	l.leaseTo(id, x, rapid.SampledFrom(lifeNodes).Draw(r, "node"))
}

func (l *lives) leaseTo(id gestor.TaskID, x *life, node gestor.NodeID) {
	allowed := x.state == gestor.TaskQueued && !l.now.Before(x.due) && (x.node == "" || x.node == node) && !l.busy(node, x.resource)
	fence, ok := l.try(allowed, command.LeaseTask{ID: id, Node: node})
	if !ok {
		return
	}
	if fence <= l.fence {
		l.r.Fatalf("fence %d of %s is not above %d", fence, id, l.fence)
	}
	if x.fence != 0 {
		x.stale = append(x.stale, x.fence)
	}
	l.fence, x.fence = fence, fence
	x.state, x.node = gestor.TaskLeased, node
	x.attempt++
}

func (l *lives) busy(node gestor.NodeID, resource string) bool {
	for _, x := range l.tasks {
		if x.state.Held() && x.node == node && x.resource == resource {
			return true
		}
	}
	return false
}

func (l *lives) start(r *rapid.T) {
	id, x := l.pick(r)
	fence, holds := l.word(r, x)
	if _, ok := l.try(holds, command.StartTask{ID: id, Fence: fence}); ok {
		x.state = gestor.TaskRunning
	}
}

func (l *lives) report(r *rapid.T) {
	id, x := l.pick(r)
	fence, holds := l.word(r, x)
	l.try(holds, command.ReportTask{ID: id, Fence: fence, Phase: "half", Percent: 50})
}

func (l *lives) finish(r *rapid.T) {
	id, x := l.pick(r)
	fence, holds := l.word(r, x)
	outcome := rapid.SampledFrom([]gestor.TaskState{gestor.TaskSucceeded, gestor.TaskFailed, gestor.TaskCancelled}).Draw(r, "outcome")
	op := command.FinishTask{ID: id, Fence: fence, Outcome: outcome, Error: "e", Retryable: rapid.Bool().Draw(r, "retryable")}
	repeated := fence == x.fence && x.state == outcome // the answer was lost, and the agent says it again
	if _, ok := l.try(holds || repeated, op); !ok || repeated {
		return
	}
	if outcome == gestor.TaskFailed && op.Retryable && x.attempt < x.most && !x.cancelling {
		x.queue(l.now.Add(gestor.Backoff(x.attempt)))
		return
	}
	x.state = outcome
}

func (x *life) queue(due time.Time) {
	x.state, x.due, x.cancelling = gestor.TaskQueued, due, false
	if x.free {
		x.node = ""
	}
}

func (l *lives) lose(r *rapid.T) {
	id, x := l.pick(r)
	fence, holds := l.word(r, x)
	if _, ok := l.try(holds, command.LoseTask{ID: id, Fence: fence}); !ok {
		return
	}
	switch {
	case x.cancelling:
		x.state = gestor.TaskCancelled
	case x.onLost == gestor.LostRetry && x.attempt < x.most:
		x.queue(l.now)
	default:
		x.state = gestor.TaskLost
	}
}

func (l *lives) cancel(r *rapid.T) {
	id, x := l.pick(r)
	l.try(true, command.CancelTask{ID: id})
	if x.state == gestor.TaskQueued {
		x.state = gestor.TaskCancelled
	}
	x.cancelling = x.cancelling || x.state.Held()
}

func (l *lives) retry(r *rapid.T) {
	id, x := l.pick(r)
	if _, ok := l.try(x.state == gestor.TaskLost || x.state == gestor.TaskFailed, command.RetryTask{ID: id}); !ok {
		return
	}
	x.most = max(x.most, x.attempt+1)
	x.queue(l.now)
	delete(l.ends, id) // the one way back
}

func (l *lives) tick(r *rapid.T) {
	l.now = l.now.Add(time.Duration(rapid.IntRange(1, 5).Draw(r, "seconds")) * time.Second)
}

// check compares the state with the model, and both with what must always hold.
func (l *lives) check(r *rapid.T) {
	holders := map[string]gestor.TaskID{}
	for id, x := range l.tasks {
		got := l.task(id)
		if got.State != x.state || got.NodeID != x.node || got.Attempt != x.attempt || got.Fence != x.fence || got.MaxAttempts != x.most ||
			x.state.Held() && got.Cancelling != x.cancelling {
			r.Fatalf("%s is %+v, the model has %+v", id, got, *x)
		}
		if before, ended := l.ends[id]; ended && before != got.State {
			r.Fatalf("%s was %s and is %s", id, before, got.State)
		}
		switch {
		case got.State.Ended():
			l.ends[id] = got.State
		case got.State.Held():
			key := string(got.NodeID) + " " + got.Resource
			if other, taken := holders[key]; taken || got.NodeID == "" || got.Deadline.IsZero() {
				r.Fatalf("%s holds %q without a node, a deadline or alone (%s): %+v", id, key, other, got)
			}
			holders[key] = id
		case got.NotBefore.After(l.now.Add(gestor.Backoff(100))):
			r.Fatalf("%s waits for %s", id, got.NotBefore)
		}
	}
}

// drain does what a dispatcher and willing agents do, until nothing is left.
func (l *lives) drain(r *rapid.T) {
	for range 10 * (len(l.tasks) + 1) {
		l.now = l.now.Add(gestor.Backoff(100))
		open := false
		for id, x := range l.tasks {
			if x.state == gestor.TaskQueued {
				open = true
				node := x.node
				if node == "" {
					node = lifeNodes[0]
				}
				l.leaseTo(id, x, node)
			}
			if x.state.Held() {
				open = true
				l.try(true, command.FinishTask{ID: id, Fence: x.fence, Outcome: gestor.TaskSucceeded})
				x.state = gestor.TaskSucceeded
			}
		}
		if !open {
			l.check(r)
			return
		}
	}
	r.Fatal("a task is stuck")
}

func TestTaskLife_KeepsToItsModelAndNeverGetsStuck(t *testing.T) {
	fewer(t, "40")
	rapid.Check(t, func(r *rapid.T) {
		l := newLives(t, r)
		defer func() { _ = l.store.Close() }()
		l.create(r)
		r.Repeat(map[string]func(*rapid.T){
			"":       l.check,
			"create": l.create,
			"lease":  l.lease,
			"start":  l.start,
			"report": l.report,
			"finish": l.finish,
			"lose":   l.lose,
			"cancel": l.cancel,
			"retry":  l.retry,
			"tick":   l.tick,
		})
		l.drain(r)
	})
}
