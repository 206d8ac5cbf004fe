package state

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var apps = newTable(Apps, "applications", []string{"id"}, func(a *gestor.App) []column {
	return []column{
		{"id", &a.ID},
		{"tenant_id", &a.TenantID},
		{"slug", &a.Slug},
		{"uid", &a.UID},
		{"settings_json", &a.Settings},
		{"status", &a.Status},
		{"current_release", &a.CurrentRelease},
		{"active_deployment", &a.ActiveDeployment},
		{"deploy_key", &a.DeployKey},
		{"deploy_key_sealed", &a.DeployKeySealed},
		{"last_build", &a.LastBuild},
		{"created_at", &a.CreatedAt},
		{"updated_at", &a.UpdatedAt},
		{"revision", &a.Revision},
	}
}).since(levelPeople, func(a *gestor.App) []column {
	return []column{{"env_version", &a.EnvVersion}}
}).within(bounds{app: "id"})

var appsBySlug = order[gestor.App]{by: "slug", key: func(a gestor.App) cursor {
	return cursor{Text: a.Slug, ID: string(a.ID)}
}}

// App is an app.
func (v *View) App(ctx context.Context, id gestor.AppID) (gestor.App, error) {
	return one(ctx, v, apps, "app", " AND id = ?", string(id))
}

// AppBySlug is the app with a slug, which is unique in the installation.
func (v *View) AppBySlug(ctx context.Context, slug string) (gestor.App, error) {
	return one(ctx, v, apps, "app", " AND slug = ?", slug)
}

// Apps are the apps by slug.
func (v *View) Apps(ctx context.Context, page gestor.Page) ([]gestor.App, string, error) {
	return list(ctx, v, apps, appsBySlug, page, "")
}

const onNode = ` AND id IN (
  SELECT app_id
  FROM application_nodes
  WHERE node_id = ?)
ORDER BY slug`

// AppsByNode are the apps whose settings name a node, by slug.
func (v *View) AppsByNode(ctx context.Context, node gestor.NodeID) ([]gestor.App, error) {
	return many(ctx, v, apps, onNode, string(node))
}

// AppsDeleting are the apps whose removal has begun, by slug.
func (v *View) AppsDeleting(ctx context.Context) ([]gestor.App, error) {
	return many(ctx, v, apps, " AND status = 'deleting' ORDER BY slug")
}

const putAppNode = `
INSERT INTO application_nodes (app_id, node_id, tenant_id)
VALUES (?, ?, ?)
ON CONFLICT DO NOTHING`

// PutApp writes an app.
func (x *Txn) PutApp(ctx context.Context, a gestor.App) error {
	a.Revision = x.Revision
	return apps.save(ctx, x, &a)
}

// PutAppNodes records which nodes the app's settings name. It goes with every PutApp that changes them.
func (x *Txn) PutAppNodes(ctx context.Context, a gestor.App) error {
	if err := x.exec(ctx, "DELETE FROM application_nodes WHERE app_id = ?", string(a.ID)); err != nil {
		return err
	}
	for _, node := range a.Settings.Nodes {
		if err := x.exec(ctx, putAppNode, string(a.ID), string(node), string(a.TenantID)); err != nil {
			return err
		}
	}
	return nil
}

// forgetApp is what goes with an app, children first.
var forgetApp = []string{
	"DELETE FROM application_env WHERE app_id = ?",
	"DELETE FROM application_nodes WHERE app_id = ?",
	"DELETE FROM tasks WHERE app_id = ?",
	"DELETE FROM deployments WHERE app_id = ?",
	"DELETE FROM releases WHERE app_id = ?",
	"DELETE FROM builds WHERE app_id = ?",
	"DELETE FROM applications WHERE id = ?",
}

// DeleteApp removes an app with its variables, builds, releases, deployments and tasks.
func (x *Txn) DeleteApp(ctx context.Context, id gestor.AppID) error {
	x.touch(Apps | Env | Builds | Releases | Deployments | Tasks)
	if err := errors.Join(x.forgetEnvVersions(ctx, id), x.forgetApprovals(ctx, id)); err != nil {
		return err
	}
	for _, query := range forgetApp {
		if err := x.exec(ctx, query, string(id)); err != nil {
			return err
		}
	}
	return nil
}
