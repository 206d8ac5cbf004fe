package mirror_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mirror"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestStateCatalogue_NamesTheLogsOfTasksMadeSince(t *testing.T) {
	e := nodestest.NewEngine(t)
	spec, err := proto.Marshal(&agentv1.TaskSpec{Kind: gestor.TaskRetire})
	if err != nil {
		t.Fatal(err)
	}
	node := e.AddNode(t, "web-1")
	var want []string
	for _, id := range []gestor.TaskID{"tsk_a", "tsk_b", "tsk_c"} {
		e.Must(t, command.CreateTask{Task: gestor.Task{
			ID: id, TenantID: nodestest.Tenant, Kind: gestor.TaskRetire, NodeID: node, Spec: spec, Timeout: time.Minute,
			OnLost: gestor.LostRetry, MaxAttempts: 3,
		}})
		want = append(want, string(id))
	}
	c := mirror.StateCatalogue{Engine: e, Needed: func(context.Context, *state.View) (map[string]bool, error) {
		return map[string]bool{"b": true, "a": true}, nil
	}}
	logs := func(since time.Time) (out []string) {
		t.Helper()
		if err := c.Logs(t.Context(), since, func(refs []mirror.LogRef) error {
			for _, r := range refs {
				out = append(out, r.ID)
				if time.Since(r.At) > time.Minute {
					t.Errorf("the log of %s, which goes on, is from %s", r.ID, r.At)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	if got := logs(time.Time{}); !slices.Equal(got, want) {
		t.Errorf("logs = %v", got)
	}
	if got := logs(time.Now().Add(time.Hour)); len(got) != 0 {
		t.Errorf("logs = %v", got)
	}
	if got, err := c.Artifacts(t.Context()); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("artifacts = %v, %v", got, err)
	}
}

// behindEngine is a server that cannot tell whether it is up to date.
type behindEngine struct{ *nodestest.Engine }

func (behindEngine) Barrier(context.Context) error { return errors.New("no leader") }

func TestStateCatalogue_DoesNotTakeTheLittleAServerKnowsForAllThereIs(t *testing.T) {
	c := mirror.StateCatalogue{Engine: behindEngine{nodestest.NewEngine(t)}}
	if err := c.Logs(t.Context(), time.Time{}, nil); err == nil {
		t.Error("listed logs")
	}
	if _, err := c.Artifacts(t.Context()); err == nil {
		t.Error("listed artifacts")
	}
}
