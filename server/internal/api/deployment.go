package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Deployer starts deployments.
type Deployer interface {
	CreateDeployment(ctx context.Context, c deploy.Call, r deploy.Request) (gestor.Deployment, error)
	// Rollback goes to a release, or to the last good one before the live one if to is empty.
	Rollback(ctx context.Context, c deploy.Call, app gestor.AppID, to gestor.ReleaseID) (gestor.Deployment, error)
}

// DeploymentDeps are what the deployment service needs.
type DeploymentDeps struct {
	Engine   Engine
	Deployer Deployer
	Now      func() time.Time // by which freezes are shown; time.Now if nil
}

// DeploymentService brings releases live.
type DeploymentService struct{ deps DeploymentDeps }

var _ gestorv1connect.DeploymentServiceHandler = (*DeploymentService)(nil)

// NewDeploymentService makes the service.
func NewDeploymentService(d DeploymentDeps) *DeploymentService {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &DeploymentService{deps: d}
}

// ListDeployments lists an app's deployments, newest first.
func (s *DeploymentService) ListDeployments(ctx context.Context, req *gestorv1.ListDeploymentsRequest) (*gestorv1.ListDeploymentsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	deployments, next, err := r.view.DeploymentsByApp(ctx, app.ID, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListDeploymentsResponse{Page: pageOut(next)}
	for _, d := range deployments {
		whole, err := s.assemble(ctx, r, d)
		if err != nil {
			return nil, err
		}
		out.Deployments = append(out.Deployments, whole)
	}
	return out, nil
}

// GetDeployment returns one deployment.
func (s *DeploymentService) GetDeployment(ctx context.Context, req *gestorv1.GetDeploymentRequest) (*gestorv1.GetDeploymentResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	d, err := s.out(ctx, r, gestor.DeploymentID(req.GetId()))
	return &gestorv1.GetDeploymentResponse{Deployment: d}, err
}

// CreateDeployment builds a ref and deploys it, or deploys a finished build.
func (s *DeploymentService) CreateDeployment(ctx context.Context, req *gestorv1.CreateDeploymentRequest) (*gestorv1.CreateDeploymentResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	what, err := r.what(ctx, app, req)
	if err != nil {
		return nil, err
	}
	d, err := s.deps.Deployer.CreateDeployment(ctx, r.call(req.GetRequestId()), what)
	if err != nil {
		return nil, err
	}
	out, err := s.assemble(ctx, r, d)
	return &gestorv1.CreateDeploymentResponse{Deployment: out}, err
}

// what checks what is to be deployed: a ref, or a build of the app.
func (r reach) what(ctx context.Context, app gestor.App, req *gestorv1.CreateDeploymentRequest) (deploy.Request, error) {
	if err := gestor.CheckRef("ref", req.GetRef()); err != nil {
		return deploy.Request{}, err
	}
	w := deploy.Request{App: app.ID, Ref: req.GetRef(), Build: gestor.BuildID(req.GetBuildId()), AllowBad: req.GetAllowBad()}
	if w.Build == "" {
		return w, nil
	}
	if w.Ref != "" {
		return w, fault.Invalid("build_id", "a finished build cannot be of another ref").WithFix("send ref or build_id")
	}
	b, err := r.build(ctx, req.GetBuildId())
	if err == nil && b.AppID != app.ID {
		err = fault.KindNotFound
	}
	return w, absent(err, "build", req.GetBuildId())
}

// Rollback switches to a kept release.
func (s *DeploymentService) Rollback(ctx context.Context, req *gestorv1.RollbackRequest) (*gestorv1.RollbackResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	var to gestor.ReleaseID
	if req.GetRelease() != "" {
		rel, err := r.release(ctx, app, req.GetRelease())
		if err != nil {
			return nil, err
		}
		to = rel.ID
	}
	d, err := s.deps.Deployer.Rollback(ctx, r.call(req.GetRequestId()), app.ID, to)
	if err != nil {
		return nil, err
	}
	out, err := s.assemble(ctx, r, d)
	return &gestorv1.RollbackResponse{Deployment: out}, err
}

// CancelDeployment stops a deployment.
func (s *DeploymentService) CancelDeployment(ctx context.Context, req *gestorv1.CancelDeploymentRequest) (*gestorv1.CancelDeploymentResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	d, err := r.deployment(ctx, gestor.DeploymentID(req.GetId()))
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, "", command.CancelDeployment{ID: d.ID}); err != nil {
		return nil, err
	}
	out, err := s.out(ctx, r, d.ID)
	return &gestorv1.CancelDeploymentResponse{Deployment: out}, err
}

// WatchDeployment sends the deployment whenever something of it changed, until it has ended.
func (s *DeploymentService) WatchDeployment(ctx context.Context, req *gestorv1.WatchDeploymentRequest, stream *connect.ServerStream[gestorv1.WatchDeploymentResponse]) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	sent := req.GetAfterRevision()
	return follow(ctx, s.deps.Engine, func() (bool, error) {
		d, err := r.deployment(ctx, gestor.DeploymentID(req.GetId()))
		if err != nil {
			return false, err
		}
		whole, err := s.assemble(ctx, r, d)
		if err != nil || whole.GetRevision() <= sent {
			return d.State.Ended(), err
		}
		sent = whole.GetRevision()
		return d.State.Ended(), stream.Send(&gestorv1.WatchDeploymentResponse{Deployment: whole, Revision: sent})
	}, state.Deployments, state.Builds, state.Releases, state.Tasks)
}

// deployment finds a deployment by id.
func (r reach) deployment(ctx context.Context, id gestor.DeploymentID) (gestor.Deployment, error) {
	d, err := r.view.Deployment(ctx, id)
	return d, absent(err, "deployment", string(id))
}

// out finds a deployment and converts it.
func (s *DeploymentService) out(ctx context.Context, r reach, id gestor.DeploymentID) (*gestorv1.Deployment, error) {
	d, err := r.deployment(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.assemble(ctx, r, d)
}

// assemble reads what is shown with a deployment.
func (s *DeploymentService) assemble(ctx context.Context, r reach, d gestor.Deployment) (*gestorv1.Deployment, error) {
	p := deploymentParts{deployment: d}
	app, err := r.view.App(ctx, d.AppID)
	if err != nil && !errors.Is(err, fault.KindNotFound) {
		return nil, err
	}
	p.current = app.CurrentRelease
	if p.build, err = present(r.view.Build(ctx, d.BuildID)); err != nil {
		return nil, err
	}
	if p.release, err = present(r.view.Release(ctx, d.ReleaseID)); err != nil {
		return nil, err
	}
	if p.tasks, err = r.view.TasksByDeployment(ctx, d.ID); err != nil {
		return nil, err
	}
	if p.names, err = r.names(ctx); err != nil {
		return nil, err
	}
	if p.hold, err = r.hold(ctx, d, app, s.deps.Now()); err != nil {
		return nil, err
	}
	return deploymentOut(p), nil
}

// present turns not found into nil.
func present[T any](v T, err error) (*T, error) {
	if errors.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	return &v, err
}
