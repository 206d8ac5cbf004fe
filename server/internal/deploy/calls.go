package deploy

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Request says what to deploy: a finished build, or else a ref to build first.
type Request struct {
	App      gestor.AppID
	Ref      string         // branch, tag or commit; the app's branch if empty
	Build    gestor.BuildID // a finished build instead
	AllowBad bool           // also a build whose release was marked bad
}

// CreateDeployment makes a deployment, with its build if there is none yet. It takes the app's deploy lock.
func (s *Service) CreateDeployment(ctx context.Context, c Call, r Request) (gestor.Deployment, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	app, err := view.App(ctx, r.App)
	if err != nil {
		return gestor.Deployment{}, err
	}
	op := command.CreateDeployment{
		ID: gestor.NewID[gestor.DeploymentID]("dep"), AppID: app.ID, BuildID: r.Build, AllowBad: r.AllowBad,
		NewReleaseID: gestor.NewID[gestor.ReleaseID]("rel"),
	}
	if r.Build == "" {
		b, err := s.build(ctx, view, app, r.Ref)
		if err != nil {
			return gestor.Deployment{}, err
		}
		b.Task.DeploymentID = op.ID
		op.Build = &b
	}
	return s.created(ctx, view, c, op)
}

// Rollback makes a deployment of a kept release: the given one, or the last good one before the live one.
func (s *Service) Rollback(ctx context.Context, c Call, id gestor.AppID, to gestor.ReleaseID) (gestor.Deployment, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	app, err := view.App(ctx, id)
	if err != nil {
		return gestor.Deployment{}, err
	}
	named := to != ""
	if !named {
		r, err := view.LastGoodRelease(ctx, app)
		if err != nil {
			return gestor.Deployment{}, fault.Conflict("%s has no earlier good release to go back to", app.Slug).
				WithFix("deploy a fixed commit instead").WithCause(err)
		}
		to = r.ID
	}
	return s.created(ctx, view, c, command.CreateDeployment{
		ID: gestor.NewID[gestor.DeploymentID]("dep"), AppID: app.ID, ReleaseID: to, Rollback: true, AllowBad: named,
	})
}

func (s *Service) created(ctx context.Context, view *state.View, c Call, op command.CreateDeployment) (gestor.Deployment, error) {
	id, err := s.propose(ctx, c, op)
	if err != nil {
		return gestor.Deployment{}, err
	}
	return view.Deployment(ctx, gestor.DeploymentID(or(id, string(op.ID))))
}

// CancelDeployment stops a deployment; what was switched is reverted.
func (s *Service) CancelDeployment(ctx context.Context, c Call, id gestor.DeploymentID) (gestor.Deployment, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	if _, err := view.Deployment(ctx, id); err != nil {
		return gestor.Deployment{}, err
	}
	if _, err := s.propose(ctx, c, command.CancelDeployment{ID: id}); err != nil {
		return gestor.Deployment{}, err
	}
	return view.Deployment(ctx, id)
}

// CreateBuild builds without deploying.
func (s *Service) CreateBuild(ctx context.Context, c Call, id gestor.AppID, ref string) (gestor.Build, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	app, err := view.App(ctx, id)
	if err != nil {
		return gestor.Build{}, err
	}
	op, err := s.build(ctx, view, app, ref)
	if err != nil {
		return gestor.Build{}, err
	}
	made, err := s.propose(ctx, c, op)
	if err != nil {
		return gestor.Build{}, err
	}
	return view.Build(ctx, gestor.BuildID(or(made, string(op.ID))))
}

// CancelBuild stops a build. One that belongs to a deployment fails it.
func (s *Service) CancelBuild(ctx context.Context, c Call, id gestor.BuildID) (gestor.Build, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	b, err := view.Build(ctx, id)
	if err != nil {
		return gestor.Build{}, err
	}
	if _, err := s.propose(ctx, c, command.CancelTask{ID: b.TaskID}); err != nil {
		return gestor.Build{}, err
	}
	return view.Build(ctx, id)
}

// DeleteApp begins the removal of an app from all nodes it may be on. With purge its shared directory goes too.
func (s *Service) DeleteApp(ctx context.Context, c Call, id gestor.AppID, purge bool) ([]gestor.TaskID, error) {
	view := s.engine.View(gestor.TenantScope(c.Actor.TenantID))
	app, err := view.App(ctx, id)
	if err != nil {
		return nil, err
	}
	nodes, err := everOn(ctx, view, app)
	if err != nil {
		return nil, err
	}
	op := command.DeleteApp{ID: app.ID}
	ids := make([]gestor.TaskID, 0, len(nodes))
	for _, n := range nodes {
		t := removeTask(app, n, purge)
		op.Tasks, ids = append(op.Tasks, t), append(ids, t.Task.ID)
	}
	if _, err := s.propose(ctx, c, op); err != nil {
		return nil, err
	}
	return ids, nil
}

func removeTask(app gestor.App, n gestor.NodeID, purge bool) command.CreateTask {
	resource := "app/" + app.Slug
	return command.CreateTask{Task: gestor.Task{
		ID: gestor.NewID[gestor.TaskID]("tsk"), TenantID: app.TenantID, Kind: gestor.TaskRemove, NodeID: n, AppID: app.ID,
		Resource: resource, MaxAttempts: 5, Priority: gestor.PriorityDeploy, Timeout: removeTime, OnLost: gestor.LostRetry,
		Spec: marshal(&agentv1.TaskSpec{Kind: gestor.TaskRemove, Resource: resource, Work: &agentv1.TaskSpec_Remove{
			Remove: &agentv1.RemoveWork{App: appRef(app), Purge: purge},
		}}),
	}}
}

// everOn are the nodes that still exist and that the app is or was deployed to.
func everOn(ctx context.Context, view *state.View, app gestor.App) ([]gestor.NodeID, error) {
	all, err := view.AllNodes(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[gestor.NodeID]bool{}
	for _, n := range app.Settings.Nodes {
		wanted[n] = true
	}
	deployments, _, err := view.DeploymentsByApp(ctx, app.ID, gestor.Page{Size: 500})
	if err != nil {
		return nil, err
	}
	for _, d := range deployments {
		for _, n := range d.Nodes {
			wanted[n] = true
		}
	}
	var out []gestor.NodeID
	for _, n := range all {
		if wanted[n.ID] {
			out = append(out, n.ID)
		}
	}
	return out, nil
}

// buildTime is how long a build may take where the settings do not say, and buildSlack what fetching and storing may
// take besides.
const (
	buildTime  = 30 * time.Minute
	buildSlack = 10 * time.Minute
)

// build assembles a build of a ref. Its number and the app's uid are filled in by the state machine.
func (s *Service) build(ctx context.Context, view *state.View, app gestor.App, ref string) (command.CreateBuild, error) {
	set := app.Settings.WithDefaults()
	ref = or(ref, set.Branch)
	candidates, err := builders(ctx, view, app)
	if err != nil {
		return command.CreateBuild{}, err
	}
	resource := "build/" + app.Slug
	id := gestor.NewID[gestor.BuildID]("bld")
	spec := &agentv1.TaskSpec{Kind: gestor.TaskBuild, Resource: resource, Work: &agentv1.TaskSpec_Build{Build: &agentv1.BuildWork{
		App: appRef(app),
		Source: &agentv1.Source{
			Repository: set.Repository, Ref: ref, Root: set.Root, Submodules: set.Submodules, Lfs: set.LFS, KnownHosts: set.KnownHosts,
		},
		Type: appTypes[set.Type], BuildCommand: set.BuildCommand, StartCommand: set.StartCommand, Output: set.Output,
		Limits: limits(set.BuildLimits),
	}}}
	limit := buildTime
	if set.BuildLimits.Time > 0 {
		limit = set.BuildLimits.Time
	}
	return command.CreateBuild{ID: id, AppID: app.ID, Ref: ref, Task: gestor.Task{
		ID: gestor.NewID[gestor.TaskID]("tsk"), TenantID: app.TenantID, Kind: gestor.TaskBuild, Candidates: candidates,
		AppID: app.ID, BuildID: id, Spec: marshal(spec), Resource: resource, MaxAttempts: 2, Priority: gestor.PriorityBuild,
		Timeout: limit + buildSlack, OnLost: gestor.LostRetry,
	}}, nil
}

var appTypes = map[gestor.AppType]gestorv1.AppType{
	gestor.TypeNode:   gestorv1.AppType_APP_TYPE_NODE,
	gestor.TypePHP:    gestorv1.AppType_APP_TYPE_PHP,
	gestor.TypePython: gestorv1.AppType_APP_TYPE_PYTHON,
	gestor.TypeStatic: gestorv1.AppType_APP_TYPE_STATIC,
	gestor.TypeDocker: gestorv1.AppType_APP_TYPE_DOCKER,
}

// builders are the nodes that may build for an app: its own first, then others of its tenant like the first of them, because
// what is built on one architecture may not run on another. Its source goes to no shared node that it is not placed on.
func builders(ctx context.Context, view *state.View, app gestor.App) ([]gestor.NodeID, error) {
	all, err := view.AllNodes(ctx)
	if err != nil {
		return nil, err
	}
	arch := map[gestor.NodeID]string{}
	for _, n := range all {
		var facts gestorv1.NodeFacts
		_ = proto.Unmarshal(n.Facts, &facts) // unreadable facts are no facts
		arch[n.ID] = facts.GetArch()
	}
	var out []gestor.NodeID
	for _, n := range app.Settings.Nodes {
		if _, exists := arch[n]; exists {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, fault.Conflict("%s has no nodes to be built and run on", app.Slug).WithFix("set its nodes first")
	}
	for _, n := range all {
		if n.TenantID == app.TenantID && arch[n.ID] == arch[out[0]] && !slices.Contains(out, n.ID) {
			out = append(out, n.ID)
		}
	}
	return out, nil
}

// propose commits on a person's behalf and returns the id of what was made: of the first time, for a repeated request.
func (s *Service) propose(ctx context.Context, c Call, op command.Op) (string, error) {
	r, err := s.engine.Propose(ctx, command.Command{RequestID: c.RequestID, At: time.Now(), Actor: c.Actor, Op: op})
	if err != nil {
		return "", err
	}
	return r.Object, s.engine.Wait(ctx, r.Revision)
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
