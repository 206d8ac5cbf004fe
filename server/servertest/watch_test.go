package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

// watch follows a task to its end over random servers and checks that it is only ever told what is newer than what it
// was told before.
func watch(ctx context.Context, c *servertest.Cluster, task string) (last *gestorv1.Task, err error) {
	var seen uint64
	for ctx.Err() == nil {
		s := c.Servers[rand.IntN(len(c.Servers))]
		stream, err := c.Access(s, servertest.Access{From: "watcher", Seen: c.Seen()}).Tasks().WatchTask(ctx, &gestorv1.WatchTaskRequest{Id: task, AfterRevision: seen})
		if err != nil {
			return last, err
		}
		for stream.Receive() {
			m := stream.Msg()
			if m.GetTask().GetRevision() <= last.GetRevision() || m.GetRevision() < seen {
				return last, fmt.Errorf("%v came after %v (revisions %d, %d)", m.GetTask(), last, m.GetRevision(), seen)
			}
			last, seen = m.GetTask(), m.GetRevision()
		}
		if err := errors.Join(stream.Err(), stream.Close()); err == nil {
			return last, nil
		}
		if err := unlessAway(stream.Err()); stream.Err() != nil && err != nil {
			return last, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return last, fmt.Errorf("the watch has no end; it last saw %v", last)
}

func TestWatch_GoesOnAtAnotherServerAndNeverBack(t *testing.T) {
	t.Parallel()
	c := servertest.NewCluster(t, 3)
	c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		return servertest.Take(time.Duration(500+rand.IntN(1500))*time.Millisecond)(ctx, j)
	})
	length, seed := soak(t, 3*time.Second)
	faulty, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	limit, done := context.WithTimeout(t.Context(), length+30*time.Second)
	defer done()
	var watchers errgroup.Group
	for n := range 8 {
		task := detect(t, c, fmt.Sprint("shop", n))
		watchers.Go(func() error {
			last, err := watch(limit, c, task)
			if err == nil && last.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
				err = fmt.Errorf("the watch ended with %v", last)
			}
			return err
		})
	}
	c.Nemesis(faulty, seed, servertest.Kill, servertest.Transfer, servertest.Stop)
	c.Whole()
	if err := watchers.Wait(); err != nil {
		t.Error(err)
	}
}
