package api

import (
	"context"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
)

// ReleaseDeps are what the release service needs; all of it.
type ReleaseDeps struct {
	Engine Engine
}

// ReleaseService keeps what was deployed.
type ReleaseService struct{ deps ReleaseDeps }

var _ gestorv1connect.ReleaseServiceHandler = (*ReleaseService)(nil)

// NewReleaseService makes the service.
func NewReleaseService(d ReleaseDeps) *ReleaseService { return &ReleaseService{deps: d} }

// ListReleases lists an app's releases, newest first.
func (s *ReleaseService) ListReleases(ctx context.Context, req *gestorv1.ListReleasesRequest) (*gestorv1.ListReleasesResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	releases, next, err := r.view.ReleasesByApp(ctx, app.ID, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListReleasesResponse{Page: pageOut(next)}
	for _, rel := range releases {
		out.Releases = append(out.Releases, releaseOut(rel, app.CurrentRelease))
	}
	return out, nil
}

// PinRelease keeps a release from being pruned, or lets it go again.
func (s *ReleaseService) PinRelease(ctx context.Context, req *gestorv1.PinReleaseRequest) (*gestorv1.PinReleaseResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	rel, err := r.release(ctx, app, req.GetRelease())
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, "", command.PinRelease{ID: rel.ID, Pinned: req.GetPinned()}); err != nil {
		return nil, err
	}
	rel, err = r.release(ctx, app, string(rel.ID))
	return &gestorv1.PinReleaseResponse{Release: releaseOut(rel, app.CurrentRelease)}, err
}
