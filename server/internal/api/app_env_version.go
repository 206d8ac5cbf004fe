package api

import (
	"bytes"
	"context"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ListEnvVersions lists the versions of an app's variables that are kept.
func (s *AppService) ListEnvVersions(ctx context.Context, req *gestorv1.ListEnvVersionsRequest) (*gestorv1.ListEnvVersionsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	versions, err := r.view.EnvVersions(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	changes, err := r.view.EnvChanges(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	releases, err := r.view.KeptReleases(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListEnvVersionsResponse{}
	for _, v := range versions {
		out.Versions = append(out.Versions, envVersionOut(v, changes[v.Version], releases))
	}
	return out, nil
}

func envVersionOut(v gestor.EnvVersion, change gestor.EnvChange, releases []gestor.Release) *gestorv1.EnvVersion {
	out := &gestorv1.EnvVersion{
		Version: v.Version, CreatedAt: timeOut(v.CreatedAt), CreatedBy: v.CreatedBy, Restores: v.Restores, Set: change.Set, Removed: change.Removed,
	}
	for _, rel := range releases {
		if rel.EnvVersion == v.Version {
			out.Releases = append(out.Releases, rel.Name)
		}
	}
	return out
}

// DiffEnv tells by name what differs between two versions.
func (s *AppService) DiffEnv(ctx context.Context, req *gestorv1.DiffEnvRequest) (*gestorv1.DiffEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	before, err := r.envAt(ctx, app, req.GetFrom())
	if err != nil {
		return nil, err
	}
	after, err := r.envAt(ctx, app, req.GetTo())
	if err != nil {
		return nil, err
	}
	out := s.diff(app, before, after)
	if out.To = req.GetTo(); out.GetTo() == 0 {
		out.To = app.EnvVersion
	}
	return out, nil
}

// diff compares two lists by name; both are sorted.
func (s *AppService) diff(app gestor.App, before, after []gestor.EnvVar) *gestorv1.DiffEnvResponse {
	out := &gestorv1.DiffEnvResponse{}
	was := make(map[string]gestor.EnvVar, len(before))
	for _, v := range before {
		was[v.Name] = v
	}
	for _, v := range after {
		old, there := was[v.Name]
		delete(was, v.Name)
		switch {
		case !there:
			out.Added = append(out.Added, v.Name)
		case !s.same(app, old, v):
			out.Changed = append(out.Changed, v.Name)
		}
	}
	for _, v := range before {
		if _, gone := was[v.Name]; gone {
			out.Removed = append(out.Removed, v.Name)
		}
	}
	return out
}

// same reports whether two values of a variable are the same; what cannot be read is taken for different.
func (s *AppService) same(app gestor.App, a, b gestor.EnvVar) bool {
	if bytes.Equal(a.Sealed, b.Sealed) {
		return true
	}
	place := gestor.EnvPlace(app.ID, a.Name)
	one, err := s.deps.Sealer.Open(a.Sealed, place)
	if err != nil {
		return false
	}
	two, err := s.deps.Sealer.Open(b.Sealed, place)
	return err == nil && bytes.Equal(one, two)
}

// RollbackEnv makes the variables of an older version the newest.
func (s *AppService) RollbackEnv(ctx context.Context, req *gestorv1.RollbackEnvRequest) (*gestorv1.RollbackEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	op := command.RollbackEnv{AppID: app.ID, Version: req.GetVersion()}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	vars, version, err := s.envOut(ctx, r, app.ID)
	return &gestorv1.RollbackEnvResponse{Vars: vars, Version: version}, err
}

// envOut are an app's variables as they are now, without values, and their version.
func (s *AppService) envOut(ctx context.Context, r reach, id gestor.AppID) ([]*gestorv1.EnvVar, int64, error) {
	app, err := r.view.App(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	vars, err := r.view.Env(ctx, id)
	out := make([]*gestorv1.EnvVar, len(vars))
	for i, v := range vars {
		out[i] = &gestorv1.EnvVar{Name: v.Name, UpdatedAt: timeOut(v.UpdatedAt), SetBy: v.SetBy, Since: v.Since, UnreadableKey: s.missing(v)}
	}
	return out, app.EnvVersion, err
}
