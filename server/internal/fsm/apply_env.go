package fsm

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) updateEnv(op command.UpdateEnv) error {
	a, err := c.liveApp(op.AppID)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(op.Set))
	c.about(string(a.ID), map[string]any{"set": names, "unset": op.Unset})
	if c.atLeast(2) {
		return c.nextEnv(a, op.Set, op.Unset, 0)
	}
	for _, name := range op.Unset {
		if err := c.DeleteEnv(c.ctx, a.ID, name); err != nil {
			return err
		}
	}
	for _, name := range names {
		e := gestor.EnvVar{Name: name, Sealed: op.Set[name], UpdatedAt: c.at}
		if err := c.PutEnv(c.ctx, a, e); err != nil {
			return err
		}
	}
	a.UpdatedAt = c.at
	return c.PutApp(c.ctx, a)
}

// nextEnv makes the next version of an app's variables. restores is the version whose values it has again; 0 for none.
func (c *change) nextEnv(a gestor.App, set map[string][]byte, unset []string, restores int64) error {
	for _, name := range slices.Sorted(maps.Keys(set)) { // in order, so that every server refuses in the same words
		if err := c.sealedFits(set[name]); err != nil {
			return err
		}
	}
	now, err := c.envByName(a.ID)
	if err != nil {
		return err
	}
	unset = slices.DeleteFunc(slices.Clone(unset), func(name string) bool { return now[name].Name == "" })
	a.UpdatedAt = c.at
	if len(set) == 0 && len(unset) == 0 {
		return c.PutApp(c.ctx, a)
	}
	a.EnvVersion++
	for _, name := range slices.Sorted(slices.Values(unset)) {
		if err := errors.Join(c.PutPastEnv(c.ctx, a, now[name], a.EnvVersion), c.DeleteEnv(c.ctx, a.ID, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if err := c.setEnv(a, now[name], gestor.EnvVar{Name: name, Sealed: set[name]}); err != nil {
			return err
		}
	}
	return errors.Join(c.PutApp(c.ctx, a), c.putEnvVersion(a, restores), c.PruneEnvVersions(c.ctx, a.ID, gestor.KeptEnvVersions))
}

// setEnv gives a variable its value in the version that a has now. before has no name if there was none.
func (c *change) setEnv(a gestor.App, before, e gestor.EnvVar) error {
	if before.Name != "" {
		if err := c.PutPastEnv(c.ctx, a, before, a.EnvVersion); err != nil {
			return err
		}
	}
	e.UpdatedAt, e.Since, e.SetBy = c.at, a.EnvVersion, c.actor.Name
	return c.PutEnv(c.ctx, a, e)
}

func (c *change) putEnvVersion(a gestor.App, restores int64) error {
	return c.PutEnvVersion(c.ctx, gestor.EnvVersion{
		AppID: a.ID, TenantID: a.TenantID, Version: a.EnvVersion, CreatedAt: c.at, CreatedBy: c.actor.Name, Restores: restores,
	})
}

func (c *change) envByName(app gestor.AppID) (map[string]gestor.EnvVar, error) {
	vars, err := c.Env(c.ctx, app)
	byName := make(map[string]gestor.EnvVar, len(vars))
	for _, e := range vars {
		byName[e.Name] = e
	}
	return byName, err
}

func (c *change) rollbackEnv(op command.RollbackEnv) error {
	a, err := c.liveApp(op.AppID)
	if err != nil {
		return err
	}
	c.about(string(a.ID), map[string]any{"app": a.Slug, "version": op.Version})
	if op.Version <= 0 {
		return fault.Invalid("version", "versions count from 1")
	}
	wanted, err := c.EnvAt(c.ctx, a.ID, op.Version)
	if none, err := absent(err); none {
		return fault.NotFound("app %s has no version %d of its variables", a.Slug, op.Version).WithFix("see gestor apps env history")
	} else if err != nil {
		return err
	}
	now, err := c.envByName(a.ID)
	if err != nil {
		return err
	}
	set := map[string][]byte{}
	for _, e := range wanted {
		if !bytes.Equal(now[e.Name].Sealed, e.Sealed) {
			set[e.Name] = e.Sealed
		}
		delete(now, e.Name)
	}
	if len(set) == 0 && len(now) == 0 {
		return fault.Conflict("app %s has the variables of version %d already", a.Slug, op.Version)
	}
	return c.nextEnv(a, set, slices.Collect(maps.Keys(now)), op.Version)
}
