package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var releases = newTable(Releases, "releases", []string{"id"}, func(r *gestor.Release) []column {
	return []column{
		{"id", &r.ID},
		{"tenant_id", &r.TenantID},
		{"app_id", &r.AppID},
		{"name", &r.Name},
		{"build_id", &r.BuildID},
		{"artifact_json", &r.Artifact},
		{"status", &r.Status},
		{"pinned", &r.Pinned},
		{"reason", &r.Reason},
		{"created_at", &r.CreatedAt},
		{"created_by", &r.CreatedBy},
		{"live_at", &r.LiveAt},
		{"revision", &r.Revision},
	}
}).since(levelPeople, func(r *gestor.Release) []column {
	return []column{{"env_version", &r.EnvVersion}}
}).within(bounds{app: "app_id"})

var releasesByAge = order[gestor.Release]{by: "created_at", desc: true, key: func(r gestor.Release) cursor {
	return cursor{Number: nanos(r.CreatedAt), ID: string(r.ID)}
}}

// Release is a release.
func (v *View) Release(ctx context.Context, id gestor.ReleaseID) (gestor.Release, error) {
	return one(ctx, v, releases, "release", " AND id = ?", string(id))
}

// ReleaseByName is a release of an app by the name of its folder.
func (v *View) ReleaseByName(ctx context.Context, app gestor.AppID, name string) (gestor.Release, error) {
	return one(ctx, v, releases, "release", " AND app_id = ? AND name = ?", string(app), name)
}

// ReleasesByApp are an app's releases, the newest first.
func (v *View) ReleasesByApp(ctx context.Context, app gestor.AppID, page gestor.Page) ([]gestor.Release, string, error) {
	return list(ctx, v, releases, releasesByAge, page, " AND app_id = ?", string(app))
}

// KeptReleases are an app's releases that were not pruned, the newest first.
func (v *View) KeptReleases(ctx context.Context, app gestor.AppID) ([]gestor.Release, error) {
	const kept = " AND app_id = ? AND status <> 'pruned' ORDER BY created_at DESC, id DESC"
	return many(ctx, v, releases, kept, string(app))
}

// ReleaseByBuild is the newest release that was made of a build.
func (v *View) ReleaseByBuild(ctx context.Context, build gestor.BuildID) (gestor.Release, error) {
	const newest = " AND build_id = ? ORDER BY created_at DESC, id DESC LIMIT 1"
	return one(ctx, v, releases, "release", newest, string(build))
}

const lastGood = ` AND app_id = ? AND id <> ? AND status = 'good'
ORDER BY live_at DESC, created_at DESC, id DESC
LIMIT 1`

// LastGoodRelease is the good release of an app that was live last, other than its current one: where a rollback
// goes. Bad and pruned releases are passed over.
func (v *View) LastGoodRelease(ctx context.Context, a gestor.App) (gestor.Release, error) {
	return one(ctx, v, releases, "release", lastGood, string(a.ID), string(a.CurrentRelease))
}

// PutRelease writes a release.
func (x *Txn) PutRelease(ctx context.Context, r gestor.Release) error {
	r.Revision = x.Revision
	return releases.save(ctx, x, &r)
}
