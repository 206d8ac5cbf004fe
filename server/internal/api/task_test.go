package api_test

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// detect starts a task that nothing else depends on.
func (m member) detect(t *testing.T) string {
	t.Helper()
	res, err := m.apps.DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: "https://git.example/shop.git"})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetTaskId()
}

func TestListTasks_FiltersAndPagesNewestFirst(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	var made []string
	for range 3 {
		made = append(made, n.one.detect(t))
	}
	res, err := n.one.tasks.ListTasks(t.Context(), &gestorv1.ListTasksRequest{Active: true, Page: &gestorv1.PageRequest{Size: 2}})
	if err != nil || len(res.GetTasks()) != 2 || res.GetTasks()[0].GetId() != made[2] {
		t.Fatalf("got %v, %v", res, err)
	}
	rest, err := n.one.tasks.ListTasks(t.Context(), &gestorv1.ListTasksRequest{Active: true, Page: &gestorv1.PageRequest{Token: res.GetPage().GetNextToken()}})
	if err != nil || len(rest.GetTasks()) != 1 || rest.GetTasks()[0].GetId() != made[0] || rest.GetPage().GetNextToken() != "" {
		t.Errorf("got %v, %v", rest, err)
	}
	for _, req := range []*gestorv1.ListTasksRequest{{App: "shop", Node: "web-1"}, {Node: "nod_one"}} {
		if res, err := n.one.tasks.ListTasks(t.Context(), req); err != nil || len(res.GetTasks()) != 1 || res.GetTasks()[0].GetNodeName() != "web-1" {
			t.Errorf("%v: got %v, %v", req, res, err)
		}
	}
}

func TestCancelTask_AndRetryTask_FollowTheRulesOfTasks(t *testing.T) {
	n := newNouns(t)
	id := n.one.detect(t)
	_, err := n.one.tasks.RetryTask(t.Context(), &gestorv1.RetryTaskRequest{Id: id})
	wantKind(t, err, fault.KindConflict)
	res, err := n.one.tasks.CancelTask(t.Context(), &gestorv1.CancelTaskRequest{Id: id})
	if err != nil || res.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_CANCELLED {
		t.Errorf("got %v, %v", res, err)
	}
}

// finish leases a task to web-1 and ends it there with a detection.
func (n *nouns) finish(t *testing.T, id string) {
	t.Helper()
	n.do(t, command.LeaseTask{ID: gestor.TaskID(id), Node: "nod_one"})
	task, err := n.View(gestor.SystemScope()).Task(t.Context(), gestor.TaskID(id))
	if err != nil {
		t.Fatal(err)
	}
	result := wire(t, &agentv1.TaskResult{Result: &agentv1.TaskResult_Detection{Detection: &gestorv1.Detection{Type: gestorv1.AppType_APP_TYPE_NODE}}})
	n.do(t, command.FinishTask{ID: task.ID, Fence: task.Fence, Outcome: gestor.TaskSucceeded, Result: result})
}

func TestWatchTask_SendsChangesAndTheResultAndEnds(t *testing.T) {
	n := newNouns(t)
	id := n.one.detect(t)
	stream, err := n.one.tasks.WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := receive(t, stream)
	if first.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_QUEUED {
		t.Fatalf("got %v", first)
	}
	n.finish(t, id)
	last := receive(t, stream)
	for last.GetTask().GetState() == gestorv1.TaskState_TASK_STATE_LEASED { // changes may come as one or as two
		last = receive(t, stream)
	}
	if last.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED || last.GetTask().GetDetection().GetType() != gestorv1.AppType_APP_TYPE_NODE {
		t.Errorf("got %v", last)
	}
	if stream.Receive() {
		t.Errorf("the stream goes on: %v", stream.Msg())
	}
}

func TestWatchTask_ResumedAtTheEndSendsNothingMore(t *testing.T) {
	n := newNouns(t)
	id := n.one.detect(t)
	n.finish(t, id)
	task, err := n.one.tasks.GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := n.one.tasks.WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: id, AfterRevision: task.GetTask().GetRevision()})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || stream.Err() != nil {
		t.Errorf("got %v, %v", stream.Msg(), stream.Err())
	}
}
