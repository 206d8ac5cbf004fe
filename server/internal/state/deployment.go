package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var deployments = newTable(Deployments, "deployments", []string{"id"}, func(d *gestor.Deployment) []column {
	ended := d.State.Ended() // written, and not read back
	return []column{
		{"id", &d.ID},
		{"tenant_id", &d.TenantID},
		{"app_id", &d.AppID},
		{"state", &d.State},
		{"ended", &ended},
		{"rollback", &d.Rollback},
		{"allow_bad", &d.AllowBad},
		{"build_id", &d.BuildID},
		{"release_id", &d.ReleaseID},
		{"previous_release", &d.PreviousRelease},
		{"nodes_json", &d.Nodes},
		{"phases_json", &d.Phases},
		{"error", &d.Error},
		{"cancelling", &d.Cancelling},
		{"created_by", &d.CreatedBy},
		{"created_at", &d.CreatedAt},
		{"finished_at", &d.FinishedAt},
		{"live_at", &d.LiveAt},
		{"settings_json", &d.Settings},
		{"revision", &d.Revision},
	}
}).since(levelPeople, func(d *gestor.Deployment) []column {
	return []column{
		{"env_version", &d.EnvVersion},
		{"waiting", &d.Waiting},
		{"asked_by", &d.AskedBy},
		{"approval_asked_at", &d.ApprovalAskedAt},
		{"override_json", &d.Override},
	}
}).within(bounds{app: "app_id"})

var deploymentsByAge = order[gestor.Deployment]{by: "created_at", desc: true, key: func(d gestor.Deployment) cursor {
	return cursor{Number: nanos(d.CreatedAt), ID: string(d.ID)}
}}

// Deployment is a deployment.
func (v *View) Deployment(ctx context.Context, id gestor.DeploymentID) (gestor.Deployment, error) {
	return one(ctx, v, deployments, "deployment", " AND id = ?", string(id))
}

// DeploymentsByApp are an app's deployments, the newest first.
func (v *View) DeploymentsByApp(ctx context.Context, app gestor.AppID, page gestor.Page) ([]gestor.Deployment, string, error) {
	return list(ctx, v, deployments, deploymentsByAge, page, " AND app_id = ?", string(app))
}

const lastSuccess = ` AND app_id = ? AND release_id = ? AND id <> ? AND state = 'succeeded'
ORDER BY created_at DESC, id DESC
LIMIT 1`

// LastSuccess is the newest deployment, other than one, that made a release of an app live.
func (v *View) LastSuccess(ctx context.Context, app gestor.AppID, r gestor.ReleaseID, other gestor.DeploymentID) (gestor.Deployment, error) {
	return one(ctx, v, deployments, "deployment", lastSuccess, string(app), string(r), string(other))
}

// ActiveDeployments are the deployments that have not ended, the oldest first.
func (v *View) ActiveDeployments(ctx context.Context) ([]gestor.Deployment, error) {
	return many(ctx, v, deployments, " AND ended = 0 ORDER BY created_at, id")
}

// PutDeployment writes a deployment.
func (x *Txn) PutDeployment(ctx context.Context, d gestor.Deployment) error {
	d.Revision = x.Revision
	return deployments.save(ctx, x, &d)
}
