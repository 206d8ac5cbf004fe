package servertest_test

import (
	"context"
	"slices"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

func TestCluster_OfOneIsClaimedAndAnswersAfterAKill(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	s := c.Servers[0]
	c.Kill(s)
	c.Start(s)
	who, err := c.Client(s).Sessions().GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	if err != nil || who.GetSession().GetEmail() != servertest.Email {
		t.Fatalf("got %v, %v", who, err)
	}
}

func TestFakeAgent_DoesATaskOnceAndSendsItsLog(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	a := c.FakeAgent("web1", func(ctx context.Context, j *servertest.Job) *agentv1.TaskFinished {
		j.Log("first")
		j.Log("second")
		return servertest.Succeed(ctx, j)
	})
	client := c.Client(c.Servers[0])
	made, err := client.Apps().DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: "https://git.example.com/shop"})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := client.Logs().TailTaskLog(t.Context(), &gestorv1.TailTaskLogRequest{TaskId: made.GetTaskId(), Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for tail.Receive() {
		for _, l := range tail.Msg().GetLines() {
			text = append(text, l.GetText())
		}
	}
	if err := tail.Err(); err != nil || !slices.Equal(text, []string{"first", "second"}) {
		t.Errorf("the log is %q, %v", text, err)
	}
	task, err := client.Tasks().GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: made.GetTaskId()})
	if err != nil || task.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
		t.Errorf("got %v, %v", task, err)
	}
	if effects := a.Effects(); len(effects) != 1 || effects[0].Task != made.GetTaskId() || effects[0].Attempt != 1 {
		t.Errorf("its effects are %+v", effects)
	}
}
