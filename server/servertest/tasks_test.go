package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/servertest"
)

// ledger is what people were told: tasks by the request that made them.
type ledger struct {
	mu    sync.Mutex
	tasks map[string]string // guarded by mu
	open  int               // requests nobody answered; guarded by mu
}

// submit asks for a task under one request id, of random servers, until one answers or ctx ends.
func (l *ledger) submit(ctx context.Context, c *servertest.Cluster, calls []gestorAppClient, r *rand.Rand, id string) error {
	req := &gestorv1.DetectAppRequest{Repository: "https://git.example.com/" + id, RequestId: id}
	for {
		call, cancel := context.WithTimeout(ctx, patience)
		res, err := calls[r.IntN(len(calls))].DetectApp(call, req)
		cancel()
		if err == nil {
			return l.told(id, res.GetTaskId())
		}
		if err := unlessAway(err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.open++
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *ledger) told(request, task string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before := l.tasks[request]; before != "" && before != task {
		return fmt.Errorf("request %s made %s and %s", request, before, task)
	}
	l.tasks[request] = task
	return nil
}

// load submits tasks from some people at once until ctx ends. Some requests are sent once more although they were
// answered, and must get the same answer.
func (l *ledger) load(ctx context.Context, c *servertest.Cluster, seed uint64) error {
	var people errgroup.Group
	for p := range 4 {
		var calls []gestorAppClient
		for _, s := range c.Servers {
			calls = append(calls, c.Access(s, servertest.Access{From: fmt.Sprint("person", p)}).Apps())
		}
		r := rand.New(rand.NewPCG(seed, uint64(p)))
		people.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("p%d-%d", p, n)
				for range 1 + r.IntN(4)/3 {
					if err := l.submit(ctx, c, calls, r, id); err != nil {
						return err
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(r.IntN(20)) * time.Millisecond):
				}
			}
			return nil
		})
	}
	return people.Wait()
}

// ended checks that every task a person was told of has ended well, and that there are no others.
func (l *ledger) ended(ctx context.Context, c *servertest.Cluster) error {
	tasks, err := allTasks(ctx, c)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for request, id := range l.tasks {
		switch t := tasks[id]; {
		case t == nil:
			return fmt.Errorf("task %s of request %s was acknowledged and is gone", id, request)
		case t.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED:
			return fmt.Errorf("task %s of request %s is %v", id, request, t)
		}
	}
	if most := len(l.tasks) + l.open; len(tasks) > most {
		return fmt.Errorf("%d requests made %d tasks", most, len(tasks))
	}
	return nil
}

func allTasks(ctx context.Context, c *servertest.Cluster) (map[string]*gestorv1.Task, error) {
	out := map[string]*gestorv1.Task{}
	page := &gestorv1.PageRequest{Size: 500}
	for {
		res, err := c.Any().Tasks().ListTasks(ctx, &gestorv1.ListTasksRequest{Page: page})
		if err != nil {
			return nil, err
		}
		for _, t := range res.GetTasks() {
			out[t.GetId()] = t
		}
		if page = (&gestorv1.PageRequest{Size: 500, Token: res.GetPage().GetNextToken()}); page.GetToken() == "" {
			return out, nil
		}
	}
}

// once checks that no attempt at a task was made twice, that attempts do not overlap, and that later ones have higher fences.
func once(t *testing.T, agents ...*servertest.FakeAgent) (runs int) {
	t.Helper()
	byTask := map[string][]servertest.Effect{}
	for _, a := range agents {
		for _, e := range a.Effects() {
			byTask[e.Task] = append(byTask[e.Task], e)
			runs++
		}
	}
	for id, effects := range byTask {
		for i, e := range servertest.Order(effects)[1:] {
			before := effects[i]
			if e.Attempt <= before.Attempt || e.Fence <= before.Fence {
				t.Errorf("%s ran again: %+v, then %+v", id, before, e)
			}
			if before.Ended.IsZero() || before.Ended.After(e.Began) {
				t.Errorf("attempts at %s overlap: %+v and %+v", id, before, e)
			}
		}
	}
	return runs
}

func TestTasks_EndOnceWhileLeadersDieAndAgentsLoseTheirSessions(t *testing.T) {
	c := servertest.NewTunedCluster(t, 3, server.Tuning{SnapshotAfter: 100}) // who was away gets a snapshot
	var agents []*servertest.FakeAgent
	for i := range 5 {
		agents = append(agents, c.FakeAgent(fmt.Sprint("web", i), func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
			return servertest.Take(time.Duration(rand.IntN(60))*time.Millisecond)(ctx, j)
		}))
	}
	length, seed := soak(t, 5*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	told := &ledger{tasks: map[string]string{}}
	var group errgroup.Group
	group.Go(func() error { return told.load(ctx, c, seed) })
	group.Go(func() error {
		for ctx.Err() == nil {
			a := agents[rand.IntN(len(agents))]
			c.Network.Kill(a.Name)
			c.Network.Revive(a.Name)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
		return nil
	})
	c.Nemesis(ctx, seed, servertest.Kill, servertest.Partition, servertest.Transfer, servertest.Pause)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	c.Whole()
	c.Await(45*time.Second, "all tasks to end", func(ctx context.Context) error { return told.ended(ctx, c) })
	c.Check()
	runs := once(t, agents...)
	if runs < 30 {
		t.Errorf("only %d tasks ran: too few to prove anything", runs)
	}
	t.Logf("%d tasks ran", runs)
}

// detect makes a task.
func detect(t *testing.T, c *servertest.Cluster, id string) (task string) {
	t.Helper()
	req := &gestorv1.DetectAppRequest{Repository: "https://git.example.com/" + id, RequestId: id}
	c.Await(10*time.Second, "a task", func(ctx context.Context) error {
		res, err := c.Any().Apps().DetectApp(ctx, req)
		task = res.GetTaskId()
		return err
	})
	return task
}

// awaitNode waits until a node has a status.
func awaitNode(t *testing.T, c *servertest.Cluster, limit time.Duration, name string, want gestorv1.NodeStatus) {
	t.Helper()
	c.Await(limit, fmt.Sprint(name, " to be ", want), func(ctx context.Context) error {
		res, err := c.Any().Nodes().GetNode(ctx, &gestorv1.GetNodeRequest{Node: name})
		if err == nil && res.GetNode().GetStatus() != want {
			err = fmt.Errorf("it is %s", res.GetNode().GetStatus())
		}
		return err
	})
}

func TestNode_ThatIsGoneIsNoticedAndItsTasksAreExplainedAndTriedAgain(t *testing.T) {
	t.Parallel()
	c := servertest.NewTunedCluster(t, 3, server.Tuning{
		Nodes:    nodes.Times{Heartbeat: 200 * time.Millisecond, Suspect: 600 * time.Millisecond, Lost: 1200 * time.Millisecond, Lease: 1500 * time.Millisecond},
		Dispatch: dispatch.Times{Lease: 1500 * time.Millisecond, Margin: 300 * time.Millisecond},
	})
	a := c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		if j.Spec.GetAttempt() == 1 {
			return servertest.Hang(ctx, j)
		}
		return servertest.Succeed(ctx, j)
	})
	awaitNode(t, c, 5*time.Second, a.Name, gestorv1.NodeStatus_NODE_STATUS_CONNECTED)
	task := detect(t, c, "shop")
	a.Await(5*time.Second, "the task to begin", func(e []servertest.Effect) bool { return len(e) == 1 })
	c.Network.Isolate(a.Name) // it goes on in the dark
	awaitNode(t, c, 3*time.Second, a.Name, gestorv1.NodeStatus_NODE_STATUS_SUSPECT)
	c.Kill(c.WaitLeader())
	awaitNode(t, c, 10*time.Second, a.Name, gestorv1.NodeStatus_NODE_STATUS_LOST)
	var got *gestorv1.Task
	c.Await(10*time.Second, "a reason", func(ctx context.Context) error {
		res, err := c.Any().Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: task})
		if got = res.GetTask(); err == nil && (got.GetState() != gestorv1.TaskState_TASK_STATE_QUEUED || got.GetWaiting() == "") {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
	c.Network.Heal()
	c.Await(10*time.Second, "the task to end", func(ctx context.Context) error {
		res, err := c.Any().Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: task})
		if got = res.GetTask(); err == nil && got.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
	if got.GetAttempt() != 2 || once(t, a) != 2 {
		t.Errorf("after %+v the task is %v", a.Effects(), got)
	}
}

// follow reads the log of a task to its end, from random servers, each time from where it was. The servers' faults end
// a reading; only the end of the log ends them all.
func follow(ctx context.Context, c *servertest.Cluster, task string) (lines []string, breaks int, err error) {
	var after uint64
	for ctx.Err() == nil {
		s := c.Servers[rand.IntN(len(c.Servers))]
		tail, err := c.Access(s, servertest.Access{From: "reader", Seen: c.Seen()}).Logs().TailTaskLog(ctx, &gestorv1.TailTaskLogRequest{
			TaskId: task, AfterSeq: after, Follow: true,
		})
		if err != nil {
			return lines, breaks, err
		}
		for tail.Receive() {
			for _, l := range tail.Msg().GetLines() {
				if l.GetSeq() <= after {
					return lines, breaks, fmt.Errorf("line %d came after line %d", l.GetSeq(), after)
				}
				after = l.GetSeq()
				lines = append(lines, l.GetText())
			}
		}
		err = errors.Join(tail.Err(), tail.Close())
		if err == nil {
			return lines, breaks, nil
		}
		if tail.Err() != nil && unlessAway(tail.Err()) != nil {
			return lines, breaks, tail.Err()
		}
		breaks++
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return lines, breaks, fault.Timeout("the log has no end")
}

func TestTail_HasNoGapAndNoRepeatOverDyingServers(t *testing.T) {
	t.Parallel()
	c := servertest.NewCluster(t, 3)
	length, seed := soak(t, 4*time.Second)
	lines := int(length / (10 * time.Millisecond))
	c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		for n := range lines {
			j.Log(fmt.Sprint("line ", n+1))
			select {
			case <-ctx.Done():
				return servertest.Hang(ctx, j)
			case <-time.After(10 * time.Millisecond):
			}
		}
		return servertest.Succeed(ctx, j)
	})
	task := detect(t, c, "shop")
	faulty, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	limit, done := context.WithTimeout(t.Context(), length+30*time.Second)
	defer done()
	var readers errgroup.Group
	for range 3 {
		readers.Go(func() error {
			got, breaks, err := follow(limit, c, task)
			if err != nil {
				return fmt.Errorf("after %d lines and %d breaks: %w", len(got), breaks, err)
			}
			for i, text := range got {
				if text != fmt.Sprint("line ", i+1) {
					return fmt.Errorf("line %d is %q", i+1, text)
				}
			}
			if len(got) != lines {
				return fmt.Errorf("%d lines of %d came", len(got), lines)
			}
			return nil
		})
	}
	c.Nemesis(faulty, seed, servertest.Kill, servertest.Stop)
	c.Whole()
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
}
