package fsm

import (
	"fmt"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// managedNode is a node that the actor may change: one of its tenant, or any for who acts for the installation. Others see
// a shared node and place apps on it, no more.
func (c *change) managedNode(id gestor.NodeID) (gestor.Node, error) {
	n, err := c.mine().Node(c.ctx, id)
	if err != nil || c.mine().Scope().IsSystem() || n.TenantID == c.actor.TenantID {
		return n, err
	}
	return n, fault.Denied("the node %s is shared and belongs to another tenant", n.Name).WithFix("ask an operator of this installation")
}

// workOf is a task for who works on it or judges it: of an agent its node's own, whosever the task is, and otherwise what
// the actor may touch.
func (c *change) workOf(id gestor.TaskID) (gestor.Task, error) {
	if c.actor.Kind != "agent" || !c.atLeast(2) {
		return c.mine().Task(c.ctx, id)
	}
	t, err := c.Task(c.ctx, id)
	if err == nil && t.NodeID != gestor.NodeID(c.actor.ID) {
		return gestor.Task{}, fault.NotFound("there is no such task")
	}
	return t, err
}

// mayName reports whether the actor may hear of an app.
func (c *change) mayName(a gestor.App) bool {
	if !c.atLeast(2) || c.actor.Kind == "system" {
		return true
	}
	return a.TenantID == c.actor.TenantID
}

func runsForOthers(n gestor.Node, others int) error {
	switch others {
	case 0:
		return nil
	case 1:
		return fault.Conflict("node %s is to run an app of another tenant", n.Name).WithFix("let its owner move it first")
	}
	return fault.Conflict("node %s is to run %d apps of other tenants", n.Name, others).WithFix("let their owners move them first")
}

func (c *change) shareNode(op command.ShareNode) error {
	if err := c.forInstallation(); err != nil {
		return err
	}
	n, err := c.Node(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.tenant = n.TenantID
	c.about(string(n.ID), map[string]any{"node": n.Name})
	c.was(n)
	moved := op.Owner != "" && op.Owner != n.TenantID
	if moved {
		if err := c.moveNode(&n, op.Owner); err != nil {
			return err
		}
	}
	n.Shared = op.Shared
	c.is(n)
	if !n.Shared {
		if err := c.usedByOwner(n); err != nil {
			return err
		}
	}
	return c.PutNode(c.ctx, n)
}

// moveNode gives n another owner.
func (c *change) moveNode(n *gestor.Node, to gestor.TenantID) error {
	owner, err := c.Tenant(c.ctx, to)
	if err != nil {
		return err
	}
	if owner.Status == gestor.StatusTrash {
		return fault.Conflict("the tenant %s is in the trash", owner.Name)
	}
	taken := fault.Exists("the tenant %s has a node named %s already", owner.Name, n.Name).WithFix("delete one of them first")
	if err := unless(second(c.OwnNodeByName(c.ctx, to, n.Name)), taken); err != nil {
		return err
	}
	n.TenantID = to
	return nil
}

// usedByOwner refuses while anything of other tenants than the owner is on n, or on its way there.
func (c *change) usedByOwner(n gestor.Node) error {
	apps, err := c.AppsUsing(c.ctx, n.ID)
	if err != nil {
		return err
	}
	others := 0
	for _, a := range apps {
		if a.TenantID != n.TenantID {
			others++
		}
	}
	if others > 0 {
		return fault.Conflict("node %s runs %s of other tenants", n.Name, plural(others, "app")).
			WithFix("let their owners move them to other nodes first")
	}
	held, err := c.HeldTasks(c.ctx, n.ID)
	if err != nil {
		return err
	}
	held = slices.DeleteFunc(held, func(t gestor.Task) bool { return t.TenantID == n.TenantID })
	if len(held) > 0 {
		return fault.Conflict("node %s works on %s of other tenants", n.Name, plural(len(held), "task")).WithFix("try again when it is done; drain the node to keep new work away")
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// expired reports whether it is the system that acts on what belongs to a tenant whose time in the trash is over: nothing of
// the tenant is worth keeping then.
func (c *change) expired(id gestor.TenantID) (bool, error) {
	if !c.atLeast(2) || c.actor.Kind != "system" {
		return false, nil
	}
	t, err := c.Tenant(c.ctx, id)
	if none, err := absent(err); none || err != nil {
		return false, err
	}
	return t.Status == gestor.StatusTrash && !c.at.Before(t.TrashedAt.Add(gestor.TrashTime)), nil
}

// leaveNodes parts a tenant that goes from its nodes: those that others use too go to the first operator's tenant, the rest
// is forgotten.
func (c *change) leaveNodes(t gestor.Tenant) error {
	nodes, err := c.NodesOf(c.ctx, t.ID)
	if err != nil {
		return err
	}
	heir, err := c.heir(t)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Shared && heir != "" {
			err = c.bequeath(n, heir)
		} else {
			err = c.dropNode(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// heir is the tenant of the first operator who is not of t; empty if there is none.
func (c *change) heir(t gestor.Tenant) (gestor.TenantID, error) {
	operators, err := c.Operators(c.ctx)
	for _, u := range operators {
		if u.TenantID != t.ID {
			return u.TenantID, err
		}
	}
	return "", err
}

// bequeath gives a shared node to another tenant, under the first name that is free there.
func (c *change) bequeath(n gestor.Node, to gestor.TenantID) error {
	wanted := n.Name
	for i := 2; ; i++ {
		free, err := absent(second(c.OwnNodeByName(c.ctx, to, n.Name)))
		if err != nil {
			return err
		}
		if free {
			n.TenantID = to
			return c.PutNode(c.ctx, n)
		}
		suffix := fmt.Sprint("-", i)
		n.Name = wanted[:min(len(wanted), 63-len(suffix))] + suffix
	}
}
