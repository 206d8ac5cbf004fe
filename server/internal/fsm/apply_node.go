package fsm

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createJoinToken(op command.CreateJoinToken) error {
	t := op.Token
	c.about(t.ID, map[string]any{"node": t.NodeName})
	if _, err := c.mine().Tenant(c.ctx, t.TenantID); err != nil {
		return err
	}
	if err := c.nodeNameIsFree(t.TenantID, t.NodeName); err != nil {
		return err
	}
	if err := unless(second(c.JoinToken(c.ctx, t.ID)), fault.Exists("the join token %s exists already", t.ID)); err != nil {
		return err
	}
	t.CreatedBy, t.UsedBy = c.actor.Name, nil
	c.is(t)
	return c.PutJoinToken(c.ctx, t)
}

func (c *change) nodeNameIsFree(tenant gestor.TenantID, name string) error {
	taken := fault.Exists("there is a node named %s already", name).
		WithFix("choose another name, or delete that node first: gestor nodes delete %s", name)
	return unless(second(c.OwnNodeByName(c.ctx, tenant, name)), taken)
}

// badToken is one message for a token that does not exist and for a wrong secret, so that it tells nothing.
func badToken() error {
	return fault.Unauthenticated("the join token is not valid").WithFix("make a new one: gestor nodes join-command <name>")
}

func (c *change) enrollNode(op command.EnrollNode) error {
	t, err := c.JoinToken(c.ctx, op.TokenID)
	if none, err := absent(err); none {
		return badToken()
	} else if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(t.SecretHash, op.SecretHash) != 1 {
		return badToken()
	}
	c.tenant = t.TenantID
	c.about(string(t.NodeID), map[string]any{"node": t.NodeName})
	if len(t.UsedBy) > 0 {
		return c.enrollAgain(t, op)
	}
	if !c.at.Before(t.ExpiresAt) {
		return fault.Unauthenticated("the join token for %s has expired", t.NodeName).
			WithFix("make a new one: gestor nodes join-command %s", t.NodeName)
	}
	if err := c.tenantWorks(t.TenantID); err != nil {
		return err
	}
	if err := c.nodeNameIsFree(t.TenantID, t.NodeName); err != nil {
		return err
	}
	t.UsedBy = op.SPKI
	n := gestor.Node{
		ID:          t.NodeID,
		TenantID:    t.TenantID,
		Name:        t.NodeName,
		Labels:      t.Labels,
		Status:      gestor.NodeEnrolled,
		StatusSince: c.at,
		SPKI:        op.SPKI,
		Generation:  1,
		Facts:       op.Facts,
		CreatedAt:   c.at,
	}
	return errors.Join(c.PutJoinToken(c.ctx, t), c.PutNode(c.ctx, n), c.nodeCame(n))
}

// enrollAgain lets the host in whose first answer was lost.
func (c *change) enrollAgain(t gestor.JoinToken, op command.EnrollNode) error {
	if !bytes.Equal(t.UsedBy, op.SPKI) {
		return fault.Conflict("the join token for %s has been used by another host", t.NodeName).
			WithFix("make a new one; if you used it only once, somebody else has: delete the node %s", t.NodeName)
	}
	none, err := absent(second(c.Node(c.ctx, t.NodeID)))
	if none {
		return fault.Conflict("the node %s was deleted", t.NodeName).WithFix("make a new token: gestor nodes join-command %s", t.NodeName)
	}
	return err
}

func (c *change) renewNode(op command.RenewNode) error {
	n, err := c.mine().Node(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(n.ID), map[string]any{"generation": op.Generation + 1})
	if n.Generation != op.Generation {
		return fault.Conflict("node %s renews generation %d of its certificate, the server gave it generation %d: "+
			"another host has the same key, as after cloning a disk", n.Name, op.Generation, n.Generation).
			WithFix("delete the node and add each host with its own token")
	}
	n.Generation++
	return c.PutNode(c.ctx, n)
}

func (c *change) setNodeStatus(op command.SetNodeStatus) error {
	n, err := c.mine().Node(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(n.ID), map[string]any{"status": op.Status})
	if op.Status == "" {
		return fault.Invalid("status", "a node's status cannot be empty")
	}
	before := n.Status
	if n.Status != op.Status {
		n.Status, n.StatusSince = op.Status, c.at
	}
	if len(op.Facts) > 0 {
		n.Facts = op.Facts
	}
	return errors.Join(c.PutNode(c.ctx, n), c.nodeTurned(n, before))
}

func (c *change) setNodeDraining(op command.SetNodeDraining) error {
	n, err := c.managedNode(op.ID)
	if err != nil {
		return err
	}
	c.about(string(n.ID), map[string]any{"draining": op.Draining})
	c.was(n)
	n.Draining = op.Draining
	c.is(n)
	return c.PutNode(c.ctx, n)
}

func (c *change) deleteNode(op command.DeleteNode) error {
	n, err := c.managedNode(op.ID)
	if err != nil {
		return err
	}
	c.about(string(n.ID), map[string]any{"node": n.Name})
	c.was(n)
	if expired, err := c.expired(n.TenantID); err != nil {
		return err
	} else if !expired {
		if err := c.isLeft(n); err != nil {
			return err
		}
	}
	return errors.Join(c.dropNode(n), c.nodeWent(n))
}

// dropNode forgets a node; what it works on and what waits for it is lost.
func (c *change) dropNode(n gestor.Node) error {
	held, err := c.HeldTasks(c.ctx, n.ID)
	if err != nil {
		return err
	}
	queued, err := c.QueuedTasks(c.ctx)
	if err != nil {
		return err
	}
	for _, t := range append(held, queued...) {
		if t.NodeID != n.ID {
			continue
		}
		if err := c.endTask(t, gestor.TaskLost, "the node "+n.Name+" was deleted"); err != nil {
			return err
		}
	}
	return c.DeleteNode(c.ctx, n.ID)
}

// isLeft refuses while apps are to run on the node. One that is being deleted is not: its node may be what keeps it.
func (c *change) isLeft(n gestor.Node) error {
	apps, err := c.AppsByNode(c.ctx, n.ID)
	if err != nil {
		return err
	}
	var slugs []string
	others := 0
	for _, a := range apps {
		switch {
		case a.Status == gestor.AppDeleting:
		case c.mayName(a):
			slugs = append(slugs, a.Slug)
		default:
			others++
		}
	}
	if len(slugs) == 0 {
		return runsForOthers(n, others)
	}
	const most = 10
	named := strings.Join(slugs[:min(len(slugs), most)], ", ")
	if more := len(slugs) - most; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return fault.Conflict("node %s is to run %s", n.Name, named).
		WithFix("give them other nodes (gestor apps set %s --node <name>) or delete them first", slugs[0])
}
