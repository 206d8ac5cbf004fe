package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/agent/agenttest"
	"github.com/saas-gestor/gestor/agent/internal/task"
)

func TestAgent_LearnsServersAndGoesToAnotherWhenItsOwnIsGone(t *testing.T) {
	one := agenttest.New(t)
	two := one.Beside()
	one.Tell(one.Address(), two.Address())
	h := newHost(t, one)
	h.start()
	one.WaitSessions(1)
	one.Goodbye(time.Millisecond) // the agent goes to the other, which it knows of only now
	two.WaitSessions(1)
	two.Stop()
	one.WaitSessions(2)
	h.stop()
	one.Stop()
	two.Start()
	h.start() // it has written down that there are two
	two.WaitSessions(2)
}

func TestAgent_NumbersItsSessionsAndTellsTheHighestFence(t *testing.T) {
	one := agenttest.New(t)
	two := one.Beside()
	one.Tell(one.Address(), two.Address())
	two.Tell(one.Address(), two.Address())
	h := newHost(t, one, executor{"test", func(context.Context, task.Task, task.Sink) error { return nil }})
	h.start()
	first := one.WaitSessions(1)
	one.Assign(spec("tsk_1", 7, "app/shop"), nil)
	one.WaitFinished("tsk_1")
	one.Goodbye(time.Millisecond)
	second := two.WaitSessions(1)
	h.stop()
	one.Stop()
	h.start()
	third := two.WaitSessions(2)
	if first.GetSession() == 0 || second.GetSession() <= first.GetSession() || third.GetSession() <= second.GetSession() {
		t.Errorf("sessions are numbered %d, %d, %d", first.GetSession(), second.GetSession(), third.GetSession())
	}
	if first.GetRevision() != 0 || second.GetRevision() != 7 {
		t.Errorf("revisions are %d, %d", first.GetRevision(), second.GetRevision())
	}
}
