package servertest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

// remove takes a server out by way of one that stays, which knows when it is out, and stops it.
func remove(t *testing.T, c *servertest.Cluster, s *servertest.Server) {
	t.Helper()
	stays := without(c.Servers, s)
	req := &gestorv1.RemoveServerRequest{Server: s.Name, RequestId: "remove " + s.Name}
	c.Await(time.Minute, "the removal of "+s.Name, func(ctx context.Context) error {
		_, err := c.Client(stays[0]).Servers().RemoveServer(ctx, req)
		return err
	})
	c.Kill(s) // it ends by itself; the test does not wait for that
}

func without(servers []*servertest.Server, s *servertest.Server) []*servertest.Server {
	return slices.DeleteFunc(slices.Clone(servers), func(o *servertest.Server) bool { return o == s })
}

func TestCluster_GrowsToFiveLosesTwoAtOnceAndShrinksToOneWhileTasksRun(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	a := c.FakeAgent("web1", servertest.Take(20*time.Millisecond))
	working, stop := context.WithCancel(t.Context())
	defer stop()
	var tasks []string
	var serving sync.Mutex // held while the list of servers changes
	change := func(do func()) {
		serving.Lock()
		defer serving.Unlock()
		do()
	}
	var work errgroup.Group
	work.Go(func() error { // a person who makes one task after the other, of whichever server is there
		for n := 0; working.Err() == nil; n++ {
			req := &gestorv1.DetectAppRequest{Repository: fmt.Sprintf("https://git.example.com/%d", n), RequestId: fmt.Sprint("task", n)}
			err := servertest.Until(t.Context(), time.Minute, func(ctx context.Context) error {
				var anybody *servertest.Client
				change(func() { anybody = c.Any() })
				res, err := anybody.Apps().DetectApp(ctx, req)
				if err == nil {
					tasks = append(tasks, res.GetTaskId())
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	grow := func(to int) {
		for len(c.Servers) < to {
			change(func() { c.Add() })
		}
		c.WaitVoters(to)
	}
	grow(3)
	grow(5)
	leader := c.WaitLeader()
	lost := []*servertest.Server{leader, c.Follower()}
	var deaths errgroup.Group
	for _, s := range lost {
		deaths.Go(func() error { c.Kill(s); return nil })
	}
	_ = deaths.Wait() // it has no errors
	detect(t, c, "two-of-five-gone")
	for _, s := range lost {
		change(func() {
			c.Replace(s)
			c.Servers = without(c.Servers, s)
		})
	}
	c.WaitVoters(5)
	detect(t, c, "both-replaced")
	c.Check()
	for len(c.Servers) > 1 {
		gone := c.WaitLeader() // who leads goes first, each time
		remove(t, c, gone)
		change(func() { c.Servers = without(c.Servers, gone) })
		if n := len(c.Servers); n == 3 || n == 1 {
			c.WaitVoters(n)
		}
	}
	stop()
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	last := c.Any().Tasks()
	c.Await(time.Minute, "all tasks to end", func(ctx context.Context) error {
		left, err := last.ListTasks(ctx, &gestorv1.ListTasksRequest{Active: true})
		if err == nil && len(left.GetTasks()) > 0 {
			err = fmt.Errorf("%d and more are under way: %v", len(left.GetTasks()), left.GetTasks()[0])
		}
		return err
	})
	for _, id := range tasks {
		res, err := last.GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: id})
		if err != nil || res.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("task %s is %v, %v", id, res.GetTask(), err)
		}
	}
	if runs := once(t, a); runs < len(tasks) {
		t.Errorf("%d tasks ran %d times", len(tasks), runs)
	}
	t.Logf("%d tasks", len(tasks))
}
