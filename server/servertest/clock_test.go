package servertest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

const day = 24 * time.Hour

// jumps are what clocks do in these tests.
var jumps = []time.Duration{time.Hour, -time.Hour, 31 * day, -31 * day} //nolint:gochecknoglobals // never written

// asUsual fails the test unless a sign-in counts on every server, and a task is made and done in the time it should.
func asUsual(t *testing.T, c *servertest.Cluster, name string) {
	t.Helper()
	for _, s := range c.Servers {
		who, err := c.Client(s).Sessions().GetSession(t.Context(), &gestorv1.GetSessionRequest{})
		if err != nil || who.GetSession().GetEmail() != servertest.Email {
			t.Errorf("%s: %s takes the sign-in for %v, %v", name, s.Name, who, err)
		}
	}
	for i, s := range c.Servers { // a task made at each: the time is put on it there
		began := time.Now()
		made, err := c.Client(s).Apps().DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: fmt.Sprintf("https://git.example.com/%d", i)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		task := ended(t, c, made.GetTaskId())
		if at := task.GetCreatedAt().AsTime(); at.Sub(began).Abs() > 30*time.Second {
			t.Errorf("%s: a task made now at %s is of %s", name, s.Name, at)
		}
		if task.GetAttempt() != 1 || task.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s: the task ended as %v", name, task)
		}
	}
}

// ended waits until a task has.
func ended(t *testing.T, c *servertest.Cluster, id string) (task *gestorv1.Task) {
	t.Helper()
	c.Await(time.Minute, "the end of task "+id, func(ctx context.Context) error {
		res, err := c.Any().Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: id})
		if task = res.GetTask(); err == nil && task.GetFinishedAt() == nil {
			err = fmt.Errorf("it is %v", task)
		}
		return err
	})
	return task
}

func TestClock_OfOneServerIsOutvotedAndEverythingGoesOn(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	c.FakeAgent("web1", servertest.Succeed)
	c.WaitClocks()
	asUsual(t, c, "before")
	for _, who := range []string{"the leader", "a follower"} {
		for _, jump := range jumps {
			name := fmt.Sprintf("%s is %s off", who, jump)
			s := c.WaitLeader()
			if who == "a follower" {
				s = c.Follower()
			}
			s.Jump(jump)
			asUsual(t, c, name)
			c.WaitClocks()
			notice := ""
			for _, one := range servers(t, c, c.Servers[0]).GetServers() {
				if (one.GetName() == s.Name) != strings.Contains(one.GetNotice(), "its clock is") {
					notice = one.GetName() + ": " + one.GetNotice()
				}
			}
			if notice != "" {
				t.Errorf("%s: %s", name, notice)
			}
			s.Jump(-jump)
			c.WaitClocks()
		}
	}
	c.Check()
}

func TestClock_OfAServerThatComesBackAndLeadsDeletesNothingAndEndsNoSignIn(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	c.FakeAgent("web1", servertest.Succeed)
	asUsual(t, c, "before")
	all, err := allTasks(t.Context(), c)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	for _, jump := range []time.Duration{31 * day, -400 * day} {
		s := c.Follower()
		c.Stop(s)
		s.Jump(jump)
		c.Start(s)
		c.WaitClocks()
		c.TransferTo(s) // a leader looks for what is old enough first of all
		asUsual(t, c, fmt.Sprintf("one %s off leads", jump))
		now, err := allTasks(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for id := range all {
			if now[id] == nil {
				t.Errorf("task %s is gone, after a minute of the right time", id)
			}
		}
		s.Jump(-jump)
		c.WaitClocks()
	}
	c.Check()
}

func TestClock_MayJumpWhileATaskIsUnderWay(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	goOn := make(chan struct{})
	a := c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		select {
		case <-ctx.Done():
			return servertest.Hang(ctx, j)
		case <-goOn:
			return servertest.Succeed(ctx, j)
		}
	})
	for _, jump := range jumps {
		task := detect(t, c, fmt.Sprint("during", int64(jump)))
		a.Await(time.Minute, "the task to begin", func(effects []servertest.Effect) bool {
			return len(effects) > 0 && effects[len(effects)-1].Task == task
		})
		leader := c.WaitLeader()
		leader.Jump(jump)
		c.WaitClocks()
		c.TransferTo(c.Follower()) // who judges the lease by what the one before wrote
		goOn <- struct{}{}
		if got := ended(t, c, task); got.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED || got.GetAttempt() != 1 {
			t.Errorf("a jump of %s: the task is %v", jump, got)
		}
		leader.Jump(-jump)
		c.WaitClocks()
	}
	once(t, a)
}

func TestClock_OfAServerThatIsAloneMayBeSetRightWhileATaskWaitsForItsNextAttempt(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		if j.Spec.GetAttempt() > 1 {
			return servertest.Succeed(ctx, j)
		}
		if left := j.Spec.GetTimeLeft().AsDuration(); left <= 0 || left > 5*time.Minute {
			t.Errorf("the agent was given %s", left)
		}
		return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_FAILED, Error: "try again", Retryable: true}
	})
	c.Servers[0].Jump(30 * time.Minute)
	task := detect(t, c, "early")
	c.Await(time.Minute, "the first attempt to fail", func(ctx context.Context) error {
		res, err := c.Any().Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: task})
		if err == nil && res.GetTask().GetNotBefore() == nil {
			err = fmt.Errorf("it is %v", res.GetTask())
		}
		return err
	})
	c.Servers[0].Jump(-30 * time.Minute)
	if got := ended(t, c, task); got.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED || got.GetAttempt() != 2 {
		t.Errorf("the task is %v", got)
	}
}
