package api

import (
	"context"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ListEnv lists the names of an app's variables. Only RevealEnv and ExportEnv tell values.
func (s *AppService) ListEnv(ctx context.Context, req *gestorv1.ListEnvRequest) (*gestorv1.ListEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	vars, version, err := s.envOut(ctx, r, app.ID)
	return &gestorv1.ListEnvResponse{Vars: vars, Version: version}, err
}

// UpdateEnv sets and removes variables.
func (s *AppService) UpdateEnv(ctx context.Context, req *gestorv1.UpdateEnvRequest) (*gestorv1.UpdateEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	if err := r.checkEnv(ctx, app, req); err != nil {
		return nil, err
	}
	sealed := make(map[string][]byte, len(req.GetSet()))
	for name, value := range req.GetSet() {
		sealed[name] = s.deps.Sealer.Seal([]byte(value), gestor.EnvPlace(app.ID, name))
	}
	op := command.UpdateEnv{AppID: app.ID, Set: sealed, Unset: req.GetUnset()}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	vars, version, err := s.envOut(ctx, r, app.ID)
	return &gestorv1.UpdateEnvResponse{Vars: vars, Version: version}, err
}

// checkEnv checks a change by itself and together with what is there.
func (r reach) checkEnv(ctx context.Context, app gestor.App, req *gestorv1.UpdateEnvRequest) error {
	if err := gestor.CheckEnv(req.GetSet(), req.GetUnset()); err != nil {
		return err
	}
	vars, err := r.view.Env(ctx, app.ID)
	if err != nil {
		return err
	}
	after := map[string]bool{}
	for _, v := range vars {
		after[v.Name] = true
	}
	for name := range req.GetSet() {
		after[name] = true
	}
	for _, name := range req.GetUnset() {
		delete(after, name)
	}
	if len(after) > gestor.MaxEnvVars {
		return fault.Invalid("set", "the app would have %d variables, %d are allowed", len(after), gestor.MaxEnvVars).WithFix("remove some")
	}
	return nil
}
