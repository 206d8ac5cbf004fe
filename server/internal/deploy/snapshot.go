package deploy

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// snapshot is all that decide depends on.
type snapshot struct {
	Deployment gestor.Deployment
	App        gestor.App
	Build      *gestor.Build   // nil if it waits for none
	Release    *gestor.Release // nil until the build is done
	Previous   *gestor.Release // what was live before; nil if nothing was
	// PreviousSettings are those Previous went live with; those of the deployment if that is not known any more.
	PreviousSettings gestor.AppSettings
	PreviousNodes    []gestor.NodeID  // where Previous went
	Releases         []gestor.Release // of the app, newest first
	Tasks            []work           // of the deployment, oldest first
	Tidying          []gestor.Task    // retire tasks of earlier deployments that have not ended
	Names            map[gestor.NodeID]string
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

// load reads the snapshot of a deployment.
func load(ctx context.Context, view *state.View, d gestor.Deployment) (snapshot, error) {
	// Read first what the rest is judged by: a deployment that moved meanwhile refuses what is decided here.
	s := snapshot{Deployment: d, PreviousSettings: d.Settings, Names: map[gestor.NodeID]string{}}
	tasks, err := view.TasksByDeployment(ctx, d.ID)
	if err != nil {
		return s, err
	}
	for _, t := range tasks {
		s.Tasks = append(s.Tasks, work{t, stepOf(t)})
	}
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
	if d.State == gestor.DeploymentBuilding && s.Build != nil && !s.Build.Status.Ended() {
		return s, nil // the rest is not needed before the build is done
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
	if s.Releases, _, err = view.ReleasesByApp(ctx, s.App.ID, gestor.Page{Size: 500}); err != nil {
		return err
	}
	if err := s.loadTidying(ctx, view); err != nil {
		return err
	}
	earlier, _, err := view.DeploymentsByApp(ctx, s.App.ID, gestor.Page{Size: 100})
	if err != nil {
		return err
	}
	for _, e := range earlier {
		if e.State == gestor.DeploymentSucceeded && e.ReleaseID == s.Deployment.PreviousRelease && e.ID != s.Deployment.ID {
			s.PreviousSettings, s.PreviousNodes = e.Settings, e.Nodes
			break
		}
	}
	return nil
}

func (s *snapshot) loadTidying(ctx context.Context, view *state.View) error {
	tasks, _, err := view.Tasks(ctx, state.TaskFilter{App: s.App.ID, Active: true}, gestor.Page{Size: 500})
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if t.Kind == gestor.TaskRetire && t.DeploymentID != s.Deployment.ID {
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
func (s snapshot) exists(id gestor.NodeID) bool {
	_, ok := s.Names[id]
	return ok
}

func (s snapshot) name(id gestor.NodeID) string {
	if name, ok := s.Names[id]; ok {
		return name
	}
	return string(id)
}

// of are the tasks of a step.
func (s snapshot) of(step step) []work {
	var out []work
	for _, w := range s.Tasks {
		if w.Step == step {
			out = append(out, w)
		}
	}
	return out
}

// last is the newest task of a step for a node.
func (s snapshot) last(step step, node gestor.NodeID) (work, bool) {
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
