package state

import (
	"context"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

type envRow struct {
	gestor.EnvVar
	app      gestor.AppID
	tenant   gestor.TenantID
	revision uint64
}

var env = newTable(Env, "application_env", []string{"app_id", "name"}, func(e *envRow) []column {
	return []column{
		{"app_id", &e.app},
		{"name", &e.Name},
		{"tenant_id", &e.tenant},
		{"sealed", &e.Sealed},
		{"updated_at", &e.UpdatedAt},
		{"revision", &e.revision},
	}
}).since(levelPeople, func(e *envRow) []column {
	return []column{{"since", &e.Since}, {"set_by", &e.SetBy}}
}).within(bounds{app: "app_id"})

type pastRow struct {
	envRow
	until int64
}

var pastEnv = newTableOf(levelPeople, Env, "application_env_past", []string{"app_id", "name", "since"}, func(e *pastRow) []column {
	return []column{
		{"app_id", &e.app},
		{"name", &e.Name},
		{"since", &e.Since},
		{"until", &e.until},
		{"tenant_id", &e.tenant},
		{"sealed", &e.Sealed},
		{"updated_at", &e.UpdatedAt},
		{"set_by", &e.SetBy},
		{"revision", &e.revision},
	}
}).within(bounds{app: "app_id"})

var envVersions = newTableOf(levelPeople, Env, "application_env_versions", []string{"app_id", "version"}, func(v *gestor.EnvVersion) []column {
	return []column{
		{"app_id", &v.AppID},
		{"version", &v.Version},
		{"tenant_id", &v.TenantID},
		{"created_at", &v.CreatedAt},
		{"created_by", &v.CreatedBy},
		{"restores", &v.Restores},
		{"revision", &v.Revision},
	}
}).within(bounds{app: "app_id"})

// Env are an app's variables by name, values sealed.
func (v *View) Env(ctx context.Context, app gestor.AppID) ([]gestor.EnvVar, error) {
	rows, err := many(ctx, v, env, " AND app_id = ? ORDER BY name", string(app))
	out := make([]gestor.EnvVar, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.EnvVar)
	}
	return out, err
}

// EnvAt are an app's variables by name as they were in a version. Those of version 0, of a time without versions, are
// the variables of now. A version that was forgotten is not found.
func (v *View) EnvAt(ctx context.Context, app gestor.AppID, version int64) ([]gestor.EnvVar, error) {
	if version == 0 || v.from.level() < levelPeople {
		return v.Env(ctx, app)
	}
	if _, err := v.EnvVersion(ctx, app, version); err != nil {
		return nil, err
	}
	rows, err := many(ctx, v, env, " AND app_id = ? AND since <= ?", string(app), version)
	if err != nil {
		return nil, err
	}
	past, err := many(ctx, v, pastEnv, " AND app_id = ? AND since <= ? AND until > ?", string(app), version, version)
	if err != nil {
		return nil, err
	}
	out := make([]gestor.EnvVar, 0, len(rows)+len(past))
	for _, r := range rows {
		out = append(out, r.EnvVar)
	}
	for _, r := range past {
		out = append(out, r.EnvVar)
	}
	slices.SortFunc(out, func(a, b gestor.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// EnvVersion is a version of an app's variables, without them.
func (v *View) EnvVersion(ctx context.Context, app gestor.AppID, version int64) (gestor.EnvVersion, error) {
	return one(ctx, v, envVersions, "version of the variables", " AND app_id = ? AND version = ?", string(app), version)
}

// EnvVersions are the versions of an app's variables that are kept, the newest first. There are none below level 2.
func (v *View) EnvVersions(ctx context.Context, app gestor.AppID) ([]gestor.EnvVersion, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	return many(ctx, v, envVersions, " AND app_id = ? ORDER BY version DESC", string(app))
}

// EnvChanges are what each version of an app's variables set and removed, as far as the values are kept.
func (v *View) EnvChanges(ctx context.Context, app gestor.AppID) (map[int64]gestor.EnvChange, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	rows, err := many(ctx, v, env, " AND app_id = ? ORDER BY name", string(app))
	if err != nil {
		return nil, err
	}
	past, err := many(ctx, v, pastEnv, " AND app_id = ? ORDER BY name", string(app))
	if err != nil {
		return nil, err
	}
	out := map[int64]gestor.EnvChange{}
	for _, r := range past {
		rows = append(rows, r.envRow)
	}
	for _, r := range rows {
		change := out[r.Since]
		change.Set = append(change.Set, r.Name)
		out[r.Since] = change
	}
	for _, r := range past {
		if change := out[r.until]; !slices.Contains(change.Set, r.Name) {
			change.Removed = append(change.Removed, r.Name)
			out[r.until] = change
		}
	}
	for version, change := range out {
		slices.Sort(change.Set)
		slices.Sort(change.Removed)
		out[version] = change
	}
	return out, nil
}

// PutEnv writes a variable of an app.
func (x *Txn) PutEnv(ctx context.Context, a gestor.App, e gestor.EnvVar) error {
	return env.save(ctx, x, &envRow{e, a.ID, a.TenantID, x.Revision})
}

// DeleteEnv removes a variable of an app, if it is there.
func (x *Txn) DeleteEnv(ctx context.Context, app gestor.AppID, name string) error {
	x.touch(Env)
	return x.exec(ctx, "DELETE FROM application_env WHERE app_id = ? AND name = ?", string(app), name)
}

// PutPastEnv keeps a value that is in no version from until on.
func (x *Txn) PutPastEnv(ctx context.Context, a gestor.App, e gestor.EnvVar, until int64) error {
	return pastEnv.save(ctx, x, &pastRow{envRow{e, a.ID, a.TenantID, x.Revision}, until})
}

// PutEnvVersion writes a version.
func (x *Txn) PutEnvVersion(ctx context.Context, v gestor.EnvVersion) error {
	v.Revision = x.Revision
	return envVersions.save(ctx, x, &v)
}

const pruneVersions = `
DELETE FROM application_env_versions
WHERE app_id = ?1
  AND version NOT IN (SELECT version FROM application_env_versions WHERE app_id = ?1 ORDER BY version DESC LIMIT ?2)
  AND version NOT IN (SELECT env_version FROM releases WHERE app_id = ?1 AND status <> 'pruned')
  AND version NOT IN (SELECT env_version FROM deployments WHERE app_id = ?1 AND ended = 0)`

const prunePast = `
DELETE FROM application_env_past
WHERE app_id = ?1 AND NOT EXISTS (
  SELECT 1
  FROM application_env_versions AS v
  WHERE v.app_id = ?1 AND v.version >= application_env_past.since AND v.version < application_env_past.until)`

// PruneEnvVersions forgets versions of an app's variables, with the values that are in no other, but for the newest and
// those that a release or a deployment under way names.
func (x *Txn) PruneEnvVersions(ctx context.Context, app gestor.AppID, newest int) error {
	x.touch(Env)
	if err := x.exec(ctx, pruneVersions, string(app), newest); err != nil {
		return err
	}
	return x.exec(ctx, prunePast, string(app))
}

// forgetEnvVersions removes what goes with an app; the tables are not there below level 2.
func (x *Txn) forgetEnvVersions(ctx context.Context, app gestor.AppID) error {
	if x.level() < levelPeople {
		return nil
	}
	if err := x.exec(ctx, "DELETE FROM application_env_past WHERE app_id = ?", string(app)); err != nil {
		return err
	}
	return x.exec(ctx, "DELETE FROM application_env_versions WHERE app_id = ?", string(app))
}
