package fsm

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// nodeTurned tells of a node that was lost, or is back.
func (c *change) nodeTurned(n gestor.Node, before gestor.NodeStatus) error {
	e := gestor.Event{TenantID: n.TenantID, ObjectKind: "node", ObjectID: string(n.ID), Data: map[string]string{"node": n.Name}}
	switch {
	case n.Status == gestor.NodeLost && before != gestor.NodeLost:
		e.Severity, e.Kind, e.Title = gestor.SeverityError, gestor.EventNodeLost, "the node "+n.Name+" is lost: its agent has not been heard of for some time"
	case n.Status == gestor.NodeConnected && before == gestor.NodeLost:
		e.Severity, e.Kind, e.Title = gestor.SeverityInfo, gestor.EventNodeBack, "the node "+n.Name+" is back"
	default:
		return nil
	}
	e.Key = e.Kind + "/" + e.ObjectID
	return c.event(e)
}

// nodeCame tells of a node that was enrolled.
func (c *change) nodeCame(n gestor.Node) error {
	return c.event(gestor.Event{
		TenantID: n.TenantID, Severity: gestor.SeverityInfo, Kind: gestor.EventNodeEnrolled, ObjectKind: "node", ObjectID: string(n.ID),
		Title: "the node " + n.Name + " was added", Data: map[string]string{"node": n.Name},
	})
}

// nodeWent tells of a node that was deleted.
func (c *change) nodeWent(n gestor.Node) error {
	return c.event(gestor.Event{
		TenantID: n.TenantID, Severity: gestor.SeverityInfo, Kind: gestor.EventNodeDeleted, ObjectKind: "node", ObjectID: string(n.ID),
		Title: "the node " + n.Name + " was deleted by " + c.actor.Name, Data: map[string]string{"node": n.Name, "by": c.actor.Name},
	})
}

// deploymentTurned tells of a deployment that has ended, but for one that a person cancelled.
func (c *change) deploymentTurned(d gestor.Deployment, a gestor.App, from gestor.DeploymentState) error {
	e := gestor.Event{
		TenantID: d.TenantID, ObjectKind: "deployment", ObjectID: string(d.ID), AppID: d.AppID,
		Data: map[string]string{"app": a.Slug, "by": d.CreatedBy, "error": d.Error, "release": c.nameOfRelease(d.ReleaseID)},
	}
	switch {
	case d.State == gestor.DeploymentSucceeded:
		e.Severity, e.Kind, e.Title = gestor.SeverityInfo, gestor.EventDeploymentSucceeded, a.Slug+" was deployed by "+d.CreatedBy
		if d.Rollback {
			e.Title = a.Slug + " was rolled back by " + d.CreatedBy
		}
		delete(e.Data, "error")
	case d.State == gestor.DeploymentFailed && from == gestor.DeploymentReverting:
		e.Severity, e.Kind = gestor.SeverityError, gestor.EventDeploymentReverted
		e.Title = "the deployment of " + a.Slug + " was taken back: " + d.Error
	case d.State == gestor.DeploymentFailed:
		e.Severity, e.Kind = gestor.SeverityError, gestor.EventDeploymentFailed
		e.Title = "the deployment of " + a.Slug + " failed: " + d.Error
	default:
		return nil
	}
	return c.event(e)
}

func (c *change) nameOfRelease(id gestor.ReleaseID) string {
	r, err := c.Release(c.ctx, id)
	if err != nil {
		return ""
	}
	return r.Name
}

// deploymentWaits tells of a deployment that waits before its switch.
func (c *change) deploymentWaits(d gestor.Deployment) error {
	a, err := c.App(c.ctx, d.AppID)
	if err != nil {
		return err
	}
	return c.event(gestor.Event{
		TenantID: d.TenantID, Severity: gestor.SeverityWarning, Kind: gestor.EventDeploymentWaiting, ObjectKind: "deployment", ObjectID: string(d.ID),
		AppID: d.AppID, Title: "the deployment of " + a.Slug + " " + d.Waiting,
		Data: map[string]string{"app": a.Slug, "by": d.CreatedBy, "waiting": d.Waiting}, Key: gestor.EventDeploymentWaiting + "/" + string(d.ID),
	})
}

// buildTurned tells of a build that failed. One of a deployment is told with it.
func (c *change) buildTurned(b gestor.Build, t gestor.Task) error {
	if b.Status != gestor.BuildFailed || t.DeploymentID != "" || !c.AtLeast(levelEvents) {
		return nil
	}
	a, err := c.App(c.ctx, b.AppID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	return c.event(gestor.Event{
		TenantID: b.TenantID, Severity: gestor.SeverityError, Kind: gestor.EventBuildFailed, ObjectKind: "build", ObjectID: string(b.ID), AppID: b.AppID,
		Title: fmt.Sprintf("build %d of %s failed: %s", b.Number, a.Slug, b.Error),
		Data:  map[string]string{"app": a.Slug, "number": strconv.FormatInt(b.Number, 10), "by": b.TriggeredBy, "error": b.Error},
	})
}

// serverCame tells of a control server that joined.
func (c *change) serverCame(s gestor.Server) error {
	return c.event(gestor.Event{
		Severity: gestor.SeverityWarning, Kind: gestor.EventServerJoined, ObjectKind: "server", ObjectID: string(s.ID),
		Title: "the control server " + s.Name + " has joined from " + s.PeerAddress,
		Data:  map[string]string{"server": s.Name, "address": s.PeerAddress, "version": s.Version},
	})
}

// serverWent tells of a control server that was removed.
func (c *change) serverWent(s gestor.Server) error {
	return c.event(gestor.Event{
		Severity: gestor.SeverityWarning, Kind: gestor.EventServerRemoved, ObjectKind: "server", ObjectID: string(s.ID),
		Title: "the control server " + s.Name + " was removed by " + c.actor.Name, Data: map[string]string{"server": s.Name, "by": c.actor.Name},
	})
}

// tenantTurned tells the people of a tenant, and operators, that it may change nothing any more.
func (c *change) tenantTurned(t gestor.Tenant) error {
	if t.Status == gestor.StatusActive {
		return nil
	}
	e := gestor.Event{
		TenantID: t.ID, Severity: gestor.SeverityCritical, Kind: gestor.EventTenantSuspended, ObjectKind: "tenant", ObjectID: string(t.ID),
		Title: fmt.Sprintf("%s is %s: what runs goes on, nothing can be changed", t.Name, statusWords(t.Status)),
		Data:  map[string]string{"tenant": t.Name, "status": t.Status, "reason": t.Reason},
	}
	installation := e
	installation.TenantID, installation.Severity = "", gestor.SeverityInfo
	return errors.Join(c.event(e), c.event(installation))
}

func statusWords(status string) string {
	if status == gestor.StatusTrash {
		return "in the trash"
	}
	return status
}

// userTurned tells of a user who was blocked.
func (c *change) userTurned(before, after gestor.User) error {
	if after.Status != gestor.StatusBlocked || before.Status == gestor.StatusBlocked {
		return nil
	}
	return c.event(gestor.Event{
		TenantID: after.TenantID, Severity: gestor.SeverityWarning, Kind: gestor.EventUserBlocked, ObjectKind: "user", ObjectID: string(after.ID),
		Title: after.Email + " was blocked by " + c.actor.Name, Data: map[string]string{"email": after.Email, "by": c.actor.Name},
	})
}

// pruneEvents removes what is old of events and deliveries.
func (c *change) pruneEvents() error {
	if !c.AtLeast(levelEvents) {
		return nil
	}
	return errors.Join(
		c.PruneEvents(c.ctx, c.at.Add(-gestor.EventsKept), gestor.MostEvents),
		c.PruneDeliveries(c.ctx, c.at.Add(-gestor.DeliveriesKept)),
	)
}
