package nodes

import (
	"context"
	"fmt"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
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

// EnvPlace and DeployKeyPlace are what sealed values of an app are bound to.
func EnvPlace(app gestor.AppID, name string) string { return string(app) + "/env/" + name }

// DeployKeyPlace is what an app's sealed deploy key is bound to.
func DeployKeyPlace(app gestor.AppID) string { return string(app) + "/deploy_key" }

// ForTask returns the app's variables for tasks that run its code, and its deploy key for those that fetch it.
func (v *Vault) ForTask(ctx context.Context, t gestor.Task) (*agentv1.Secrets, error) {
	out := &agentv1.Secrets{}
	if t.AppID == "" || !runsCode(t.Kind) {
		return out, nil
	}
	view := v.engine.View(gestor.TenantScope(t.TenantID))
	vars, err := view.Env(ctx, t.AppID)
	if err != nil {
		return nil, err
	}
	out.Env = make(map[string]string, len(vars))
	for _, e := range vars {
		value, err := v.ring.Open(e.Sealed, EnvPlace(t.AppID, e.Name))
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		out.Env[e.Name] = string(value)
	}
	if t.Kind == gestor.TaskBuild {
		out.SshKey, err = v.deployKey(ctx, t)
	}
	return out, err
}

func (v *Vault) deployKey(ctx context.Context, t gestor.Task) ([]byte, error) {
	app, err := v.engine.View(gestor.TenantScope(t.TenantID)).App(ctx, t.AppID)
	if err != nil || len(app.DeployKeySealed) == 0 {
		return nil, err
	}
	key, err := v.ring.Open(app.DeployKeySealed, DeployKeyPlace(app.ID))
	if err != nil {
		return nil, fmt.Errorf("deploy key: %w", err)
	}
	return key, nil
}

func runsCode(kind string) bool {
	return kind == gestor.TaskBuild || kind == gestor.TaskPrepare || kind == gestor.TaskSwitch
}
