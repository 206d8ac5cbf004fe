package nodes

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Vault finds a task's secrets in the state and opens them with the key ring. Opened values go to the agent and
// nowhere else.
type Vault struct {
	engine Engine
	ring   *secret.Ring
}

var _ Secrets = (*Vault)(nil)

// NewVault makes a Vault.
func NewVault(e Engine, ring *secret.Ring) *Vault { return &Vault{engine: e, ring: ring} }

// ForTask returns the app's variables for tasks that run its code, and its deploy key for those that fetch it. The variables
// are those of the version that the task's deployment began with, or that the release runs with to which it goes back.
func (v *Vault) ForTask(ctx context.Context, t gestor.Task) (*agentv1.Secrets, error) {
	out := &agentv1.Secrets{}
	if t.AppID == "" || !runsCode(t.Kind) {
		return out, nil
	}
	view := v.engine.View(gestor.TenantScope(t.TenantID))
	app, err := view.App(ctx, t.AppID)
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, view, t)
	if err != nil {
		return nil, err
	}
	if out.Env, err = v.env(ctx, view, app, version); err != nil {
		return nil, err
	}
	if t.Kind == gestor.TaskBuild {
		out.SshKey, err = v.deployKey(app)
	}
	return out, err
}

// versionOf is the version of the app's variables that a task runs with; 0 for those of now.
func versionOf(ctx context.Context, view *state.View, t gestor.Task) (int64, error) {
	if t.DeploymentID == "" {
		return 0, nil
	}
	d, err := view.Deployment(ctx, t.DeploymentID)
	if err != nil {
		return 0, err
	}
	back, err := goesBackTo(t)
	if err != nil || back == "" || back == d.ReleaseID {
		return d.EnvVersion, err
	}
	r, err := view.Release(ctx, back)
	return r.EnvVersion, err
}

// goesBackTo is the release that a task makes live again; empty if it does not go back.
func goesBackTo(t gestor.Task) (gestor.ReleaseID, error) {
	if t.Kind != gestor.TaskSwitch {
		return "", nil
	}
	spec := &agentv1.TaskSpec{}
	if err := proto.Unmarshal(t.Spec, spec); err != nil {
		return "", err
	}
	if !spec.GetSwitch().GetRevert() {
		return "", nil
	}
	return gestor.ReleaseID(spec.GetSwitch().GetRelease().GetId()), nil
}

func (v *Vault) env(ctx context.Context, view *state.View, app gestor.App, version int64) (map[string]string, error) {
	vars, err := view.EnvAt(ctx, app.ID, version)
	if err != nil {
		return nil, fault.Wrap(err, "variables of app %s", app.Slug)
	}
	out := make(map[string]string, len(vars))
	for _, e := range vars {
		value, err := v.ring.Open(e.Sealed, gestor.EnvPlace(app.ID, e.Name))
		if err != nil {
			return nil, unreadable(err, "the variable "+e.Name, app, "set the variable anew and deploy again: gestor apps env set --app "+app.Slug)
		}
		out[e.Name] = string(value)
	}
	return out, nil
}

func (v *Vault) deployKey(app gestor.App) ([]byte, error) {
	if len(app.DeployKeySealed) == 0 {
		return nil, nil
	}
	key, err := v.ring.Open(app.DeployKeySealed, gestor.DeployKeyPlace(app.ID))
	if err != nil {
		return nil, unreadable(err, "the deploy key", app, "make the app anew")
	}
	return key, nil
}

// unreadable says what cannot be read, and what to do if that is because its key is lost.
func unreadable(err error, what string, app gestor.App, otherwise string) error {
	missing, lost := errors.AsType[*secret.MissingKeyError](err)
	if !lost {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fault.Conflict("%s of app %s cannot be read: the key %s that sealed it is not in %s", what, app.Slug, missing.ID, missing.From).
		WithFix("put the key back there from the copy that was kept, or %s", otherwise).WithCause(err)
}

func runsCode(kind string) bool {
	return kind == gestor.TaskBuild || kind == gestor.TaskPrepare || kind == gestor.TaskSwitch
}
