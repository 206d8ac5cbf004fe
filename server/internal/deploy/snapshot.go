package deploy

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// snapshot is all that decide depends on.
type snapshot struct { //nolint:recvcheck // what only asks takes a copy
	Deployment gestor.Deployment
	App        gestor.App
	Build      *gestor.Build   // nil if it waits for none
	Release    *gestor.Release // nil until the build is done
	Previous   *gestor.Release // what was live before; nil if nothing was
	// PreviousSettings are those Previous went live with; those of the deployment if that is not known any more.
	PreviousSettings gestor.AppSettings
	PreviousNodes    []gestor.NodeID  // where Previous went
	Releases         []gestor.Release // of the app that were not pruned, newest first
	Tasks            []work           // of the deployment, oldest first
	// Tidying are the retire tasks of earlier deployments that have not ended, and the remove tasks for nodes the app
	// comes back to.
	Tidying []gestor.Task
	Names   map[gestor.NodeID]string
	Case    protect.Case // what keeps it from its switch; read while it is preparing
	Now     time.Time
}

// work is a task with the step it is of.
type work struct {
	gestor.Task
	Step step
}

// step is what a task does for a deployment.
type step string

const (
	stepBuild   step = "build"
	stepPrepare step = "prepare"
	stepSwitch  step = "switch"
	stepWatch   step = "watch"
	stepRevert  step = "revert"
	stepRetire  step = "retire"
	stepRemove  step = "remove"
)

// stepOf tells a switch from a revert by the spec.
func stepOf(t gestor.Task) step {
	if t.Kind != gestor.TaskSwitch {
		return step(t.Kind)
	}
	var spec agentv1.TaskSpec
	if err := proto.Unmarshal(t.Spec, &spec); err == nil && spec.GetSwitch().GetRevert() {
		return stepRevert
	}
	return stepSwitch
}

// works are a deployment's tasks with their steps, oldest first.
func works(ctx context.Context, view *state.View, d gestor.Deployment) ([]work, error) {
	tasks, err := view.TasksByDeployment(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	out := make([]work, 0, len(tasks))
	for _, t := range tasks {
		out = append(out, work{t, stepOf(t)})
	}
	return out, nil
}

// stepIn is the step that a state waits for.
var stepIn = map[gestor.DeploymentState]step{
	gestor.DeploymentBuilding:  stepBuild,
	gestor.DeploymentPreparing: stepPrepare,
	gestor.DeploymentSwitching: stepSwitch,
	gestor.DeploymentWatching:  stepWatch,
}

// waits reports whether all a deployment does is to wait for its tasks: there is one for every node, one at least has not
// ended, and none has failed. There is nothing to decide then, and most looks at a deployment find it so.
func waits(d gestor.Deployment, tasks []work) bool {
	now, ok := stepIn[d.State]
	if !ok || d.Cancelling {
		return false
	}
	want, have, running := len(d.Nodes), 0, false
	if now == stepBuild {
		want = 1
	}
	for _, t := range tasks {
		if t.Step != now {
			continue
		}
		if t.State.Ended() && t.State != gestor.TaskSucceeded {
			return false
		}
		have++
		running = running || !t.State.Ended()
	}
	return running && have >= want
}

// load reads the snapshot of a deployment whose tasks were read.
func load(ctx context.Context, view *state.View, d gestor.Deployment, tasks []work) (snapshot, error) {
	s := snapshot{Deployment: d, Tasks: tasks, PreviousSettings: d.Settings, Names: map[gestor.NodeID]string{}}
	var err error
	if s.App, err = view.App(ctx, d.AppID); err != nil {
		return s, err
	}
	if s.Build, err = optional(ctx, view.Build, d.BuildID); err != nil {
		return s, err
	}
	if s.Release, err = optional(ctx, view.Release, d.ReleaseID); err != nil {
		return s, err
	}
	if s.Previous, err = optional(ctx, view.Release, d.PreviousRelease); err != nil {
		return s, err
	}
	if d.State == gestor.DeploymentPreparing {
		if s.Case, err = protect.Read(ctx, view, d, s.App); err != nil {
			return s, err
		}
	}
	return s, s.loadRest(ctx, view)
}

func (s *snapshot) loadRest(ctx context.Context, view *state.View) error {
	nodes, err := view.AllNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		s.Names[n.ID] = n.Name
	}
	if s.Releases, err = view.KeptReleases(ctx, s.App.ID); err != nil {
		return err
	}
	if err := s.loadTidying(ctx, view); err != nil {
		return err
	}
	if s.Previous == nil {
		return nil
	}
	before, err := view.LastSuccess(ctx, s.App.ID, s.Previous.ID, s.Deployment.ID)
	if errors.Is(err, fault.KindNotFound) {
		return nil
	}
	s.PreviousSettings, s.PreviousNodes = before.Settings, before.Nodes
	return err
}

func (s *snapshot) loadTidying(ctx context.Context, view *state.View) error {
	tasks, err := view.ActiveTasks(ctx, s.App.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		back := t.Kind == gestor.TaskRemove && slices.Contains(s.Deployment.Nodes, target(t))
		if (t.Kind == gestor.TaskRetire || back) && t.DeploymentID != s.Deployment.ID {
			s.Tidying = append(s.Tidying, t)
		}
	}
	return nil
}

// optional reads what may not be there.
func optional[ID ~string, T any](ctx context.Context, read func(context.Context, ID) (T, error), id ID) (*T, error) {
	if id == "" {
		return nil, nil
	}
	v, err := read(ctx, id)
	if errors.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	return &v, err
}

// exists reports whether a node has not been deleted.
func (s *snapshot) exists(id gestor.NodeID) bool {
	_, ok := s.Names[id]
	return ok
}

func (s *snapshot) name(id gestor.NodeID) string {
	if name, ok := s.Names[id]; ok {
		return name
	}
	return string(id)
}

// of are the tasks of a step.
func (s *snapshot) of(step step) []work {
	var out []work
	for _, w := range s.Tasks {
		if w.Step == step {
			out = append(out, w)
		}
	}
	return out
}

// last is the newest task of a step for a node.
func (s *snapshot) last(step step, node gestor.NodeID) (work, bool) {
	var found work
	for _, w := range s.Tasks {
		if w.Step == step && target(w.Task) == node {
			found = w
		}
	}
	return found, found.ID != ""
}

// target is the node a step's task is for.
func target(t gestor.Task) gestor.NodeID {
	if t.NodeID == "" && len(t.Candidates) == 1 {
		return t.Candidates[0]
	}
	return t.NodeID
}
