package fsm

import (
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) pinRelease(op command.PinRelease) error {
	r, err := c.mine().Release(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(r.ID), map[string]any{"release": r.Name, "pinned": op.Pinned})
	if op.Pinned && r.Status == gestor.ReleasePruned {
		return fault.Conflict("release %s was pruned, there is nothing left to keep", r.Name)
	}
	c.was(r)
	r.Pinned = op.Pinned
	c.is(r)
	return c.PutRelease(c.ctx, r)
}

// pruneReleases marks what a retire task has removed from its node: one goes back only to releases that are on all of
// them. A bad release stays bad, which says more, and one that is live or about to be is on the nodes again.
func (c *change) pruneReleases(t gestor.Task) error {
	if t.Kind != gestor.TaskRetire || t.AppID == "" {
		return nil
	}
	keep, ok := command.Keep(t.Spec)
	if !ok {
		return nil
	}
	used, err := c.usedReleases(t.AppID)
	if err != nil {
		return err
	}
	releases, err := c.KeptReleases(c.ctx, t.AppID)
	if err != nil {
		return err
	}
	for _, r := range releases {
		later := r.CreatedAt.After(t.CreatedAt) // the task was made without knowing of it
		if later || r.Status == gestor.ReleaseBad || slices.Contains(keep, r.Name) || slices.Contains(used, r.ID) {
			continue
		}
		r.Status = gestor.ReleasePruned
		if err := c.PutRelease(c.ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// usedReleases are the releases of an app that are live or that its deployment may make live.
func (c *change) usedReleases(id gestor.AppID) ([]gestor.ReleaseID, error) {
	a, err := c.App(c.ctx, id)
	if err != nil {
		return nil, err
	}
	used := []gestor.ReleaseID{a.CurrentRelease}
	if a.ActiveDeployment == "" {
		return used, nil
	}
	d, err := c.Deployment(c.ctx, a.ActiveDeployment)
	return append(used, d.ReleaseID, d.PreviousRelease), err
}
