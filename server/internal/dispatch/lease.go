package dispatch

import (
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
)

// overdue takes back what is not renewed and ends what is past its deadline. It returns when the next of them is due.
// A lease this term has not seen before counts from now: the leader before may have heard of it a moment ago.
func (t *term) overdue(held []gestor.Task) (time.Time, []command.Op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now() // after the state was read: a pause before that must not count
	t.resume(now)
	var next time.Time
	var ops []command.Op
	known, seen := make(map[nodes.Held]time.Time, len(held)), make(map[nodes.Held]time.Time, len(held))
	for _, task := range held {
		h := nodes.Held{Task: task.ID, Fence: task.Fence}
		since, ok := t.renewed[h]
		if !ok {
			since = now
		}
		first, ok := t.seen[h]
		if !ok {
			first = now
		}
		known[h], seen[h] = since, first
		end := since.Add(t.times.Lease + t.times.Margin)
		if !now.Before(end) {
			ops = append(ops, command.LoseTask{ID: task.ID, Fence: task.Fence, Reason: t.whyLost(task, now.Sub(since))})
			continue
		}
		next = earlier(next, end)
		at, op := t.late(task, first, now)
		if op != nil {
			ops = append(ops, op)
		}
		next = earlier(next, at)
	}
	t.renewed, t.seen = known, seen
	return next, ops
}

// whyLost says what is known of a task whose lease ran out, and what follows.
func (t *term) whyLost(task gestor.Task, silence time.Duration) string {
	why := "its node was lost"
	if n, ok := t.memory.nodes[task.NodeID]; ok && n.Status == gestor.NodeConnected {
		why = fmt.Sprintf("node %s is connected, but has not said for %s that it works on this", n.Name, silence.Round(time.Second))
	} else if ok {
		why = fmt.Sprintf("node %s was lost: it is not connected since %s", n.Name, n.Since.UTC().Format("15:04:05 UTC"))
	}
	switch {
	case task.Cancelling:
		return why
	case task.OnLost != gestor.LostRetry:
		return why + "; nobody knows how far it got, and doing it twice may do harm: look at the node, then retry the task or cancel it"
	case task.Attempt >= task.MaxAttempts:
		return why + fmt.Sprintf("; it is not tried again by itself, that was attempt %d of %d", task.Attempt, task.MaxAttempts)
	case len(task.Candidates) > 1:
		return why + "; it is tried again on any node that may run it"
	}
	return why + "; it is tried again there"
}

// late stops a task that had its time: first the agent is asked to, then the task fails without it. The agent keeps
// deadlines itself, so this is for agents that do not. The time counts from when this term saw the lease first: the deadline
// in the state is of the clock of whoever led then, and a clock that jumps must end no task. It returns when to look again.
func (t *term) late(task gestor.Task, first, now time.Time) (time.Time, command.Op) {
	if task.Timeout <= 0 {
		return time.Time{}, nil
	}
	ask := first.Add(task.Timeout + t.times.Overdue)
	fail := ask.Add(t.times.Overdue)
	switch {
	case now.Before(ask):
		return ask, nil
	case !now.Before(fail):
		return time.Time{}, command.FinishTask{
			ID: task.ID, Fence: task.Fence, Outcome: gestor.TaskFailed,
			Error: fmt.Sprintf("it did not end within %s and its agent did not stop it", task.Timeout),
		}
	case !task.Cancelling:
		return fail, command.CancelTask{ID: task.ID}
	}
	return fail, nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
