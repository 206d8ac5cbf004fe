package api

import (
	"context"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Builder starts builds.
type Builder interface {
	CreateBuild(ctx context.Context, c deploy.Call, app gestor.AppID, ref string) (gestor.Build, error)
}

// BuildDeps are what the build service needs; all of it.
type BuildDeps struct {
	Engine  Engine
	Builder Builder
}

// BuildService turns commits into artifacts.
type BuildService struct{ deps BuildDeps }

var _ gestorv1connect.BuildServiceHandler = (*BuildService)(nil)

// NewBuildService makes the service.
func NewBuildService(d BuildDeps) *BuildService { return &BuildService{deps: d} }

// ListBuilds lists an app's builds, newest first.
func (s *BuildService) ListBuilds(ctx context.Context, req *gestorv1.ListBuildsRequest) (*gestorv1.ListBuildsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	builds, next, err := r.view.BuildsByApp(ctx, app.ID, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListBuildsResponse{Page: pageOut(next)}
	for _, b := range builds {
		out.Builds = append(out.Builds, buildOut(b))
	}
	return out, nil
}

// GetBuild returns one build, by id, or by app and number.
func (s *BuildService) GetBuild(ctx context.Context, req *gestorv1.GetBuildRequest) (*gestorv1.GetBuildResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	b, err := r.buildOf(ctx, req)
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetBuildResponse{Build: buildOut(b)}, nil
}

func (r reach) buildOf(ctx context.Context, req *gestorv1.GetBuildRequest) (gestor.Build, error) {
	switch {
	case req.GetId() != "" && req.GetApp() != "":
		return gestor.Build{}, fault.Invalid("id", "the build is named twice").WithFix("send its id, or its app and number")
	case req.GetId() != "":
		return r.build(ctx, req.GetId())
	case req.GetApp() == "" || req.GetNumber() < 1:
		return gestor.Build{}, fault.Invalid("number", "no build is named").WithFix("send its id, or its app and a number from 1")
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return gestor.Build{}, err
	}
	b, err := r.view.BuildByNumber(ctx, app.ID, req.GetNumber())
	if err != nil {
		return gestor.Build{}, absent(err, "build", app.Slug)
	}
	return b, nil
}

// build finds a build by id.
func (r reach) build(ctx context.Context, id string) (gestor.Build, error) {
	b, err := r.view.Build(ctx, gestor.BuildID(id))
	return b, absent(err, "build", id)
}

// CreateBuild builds without deploying.
func (s *BuildService) CreateBuild(ctx context.Context, req *gestorv1.CreateBuildRequest) (*gestorv1.CreateBuildResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	if err := gestor.CheckRef("ref", req.GetRef()); err != nil {
		return nil, err
	}
	b, err := s.deps.Builder.CreateBuild(ctx, r.call(req.GetRequestId()), app.ID, req.GetRef())
	return &gestorv1.CreateBuildResponse{Build: buildOut(b)}, err
}

// CancelBuild stops a build by stopping its task.
func (s *BuildService) CancelBuild(ctx context.Context, req *gestorv1.CancelBuildRequest) (*gestorv1.CancelBuildResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	b, err := r.build(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, "", command.CancelTask{ID: b.TaskID}); err != nil {
		return nil, err
	}
	b, err = r.build(ctx, req.GetId())
	return &gestorv1.CancelBuildResponse{Build: buildOut(b)}, err
}
