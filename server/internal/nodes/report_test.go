package nodes

import (
	"fmt"
	"slices"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func TestCurrent_KeepsAllButOldProgressInOrder(t *testing.T) {
	started := func(id string) *agentv1.SessionRequest {
		return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Started{Started: &agentv1.TaskStarted{TaskId: id}}}
	}
	progress := func(id string, fence uint64, percent int32) *agentv1.SessionRequest {
		return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Progress{
			Progress: &agentv1.TaskProgress{TaskId: id, Fence: fence, Percent: percent},
		}}
	}
	finished := func(id string) *agentv1.SessionRequest {
		return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: &agentv1.TaskFinished{TaskId: id}}}
	}
	got := current([]*agentv1.SessionRequest{
		started("a"), progress("a", 0, 1), started("b"), progress("b", 0, 1), progress("b", 7, 2), progress("b", 0, 3), finished("a"),
	})
	want := []*agentv1.SessionRequest{started("a"), started("b"), progress("b", 7, 2), progress("b", 0, 3), finished("a")}
	if !slices.EqualFunc(got, want, func(a, b *agentv1.SessionRequest) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Errorf("got %v, want %v", got, want)
	}
}
