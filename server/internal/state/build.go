package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var builds = newTable(Builds, "builds", []string{"id"}, func(b *gestor.Build) []column {
	return []column{
		{"id", &b.ID},
		{"tenant_id", &b.TenantID},
		{"app_id", &b.AppID},
		{"number", &b.Number},
		{"status", &b.Status},
		{"ref", &b.Ref},
		{"artifact_json", &b.Artifact},
		{"task_id", &b.TaskID},
		{"triggered_by", &b.TriggeredBy},
		{"error", &b.Error},
		{"created_at", &b.CreatedAt},
		{"started_at", &b.StartedAt},
		{"finished_at", &b.FinishedAt},
		{"revision", &b.Revision},
	}
}).within(bounds{app: "app_id"})

var buildsByNumber = order[gestor.Build]{by: "number", desc: true, key: func(b gestor.Build) cursor {
	return cursor{Number: b.Number, ID: string(b.ID)}
}}

// Build is a build.
func (v *View) Build(ctx context.Context, id gestor.BuildID) (gestor.Build, error) {
	return one(ctx, v, builds, "build", " AND id = ?", string(id))
}

// BuildByNumber is a build of an app.
func (v *View) BuildByNumber(ctx context.Context, app gestor.AppID, number int64) (gestor.Build, error) {
	return one(ctx, v, builds, "build", " AND app_id = ? AND number = ?", string(app), number)
}

// BuildsByApp are an app's builds, the newest first.
func (v *View) BuildsByApp(ctx context.Context, app gestor.AppID, page gestor.Page) ([]gestor.Build, string, error) {
	return list(ctx, v, builds, buildsByNumber, page, " AND app_id = ?", string(app))
}

// PutBuild writes a build.
func (x *Txn) PutBuild(ctx context.Context, b gestor.Build) error {
	b.Revision = x.Revision
	return builds.save(ctx, x, &b)
}
