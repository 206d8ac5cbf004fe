package api

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var deploymentStates = map[gestor.DeploymentState]gestorv1.DeploymentState{
	gestor.DeploymentBuilding:  gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING,
	gestor.DeploymentPreparing: gestorv1.DeploymentState_DEPLOYMENT_STATE_PREPARING,
	gestor.DeploymentSwitching: gestorv1.DeploymentState_DEPLOYMENT_STATE_SWITCHING,
	gestor.DeploymentWatching:  gestorv1.DeploymentState_DEPLOYMENT_STATE_WATCHING,
	gestor.DeploymentReverting: gestorv1.DeploymentState_DEPLOYMENT_STATE_REVERTING,
	gestor.DeploymentSucceeded: gestorv1.DeploymentState_DEPLOYMENT_STATE_SUCCEEDED,
	gestor.DeploymentFailed:    gestorv1.DeploymentState_DEPLOYMENT_STATE_FAILED,
	gestor.DeploymentCancelled: gestorv1.DeploymentState_DEPLOYMENT_STATE_CANCELLED,
}

// deploymentParts is a deployment with everything that is shown with it.
type deploymentParts struct {
	deployment gestor.Deployment
	build      *gestor.Build   // nil for a rollback
	release    *gestor.Release // nil until the build is done
	current    gestor.ReleaseID
	tasks      []gestor.Task // oldest first
	names      nodeNames
	hold       *gestorv1.Hold // nil if its environment asks nothing of it
}

// deploymentOut converts a deployment.
func deploymentOut(p deploymentParts) *gestorv1.Deployment {
	d := p.deployment
	out := &gestorv1.Deployment{
		Id:                string(d.ID),
		AppId:             string(d.AppID),
		State:             deploymentStates[d.State],
		Rollback:          d.Rollback,
		PreviousReleaseId: string(d.PreviousRelease),
		Phases:            phasesOut(d.Phases),
		Error:             d.Error,
		Waiting:           waitingOf(d, p.tasks),
		CreatedBy:         d.CreatedBy,
		CreatedAt:         timeOut(d.CreatedAt),
		FinishedAt:        timeOut(d.FinishedAt),
		Revision:          p.revision(),
		LiveAt:            timeOut(d.LiveAt),
		Hold:              p.hold,
	}
	if p.build != nil {
		out.Build = buildOut(*p.build)
	}
	if p.release != nil {
		out.Release = releaseOut(*p.release, p.current)
	}
	for _, id := range d.Nodes {
		out.Nodes = append(out.Nodes, deploymentNodeOut(id, p))
	}
	return out
}

// revision is the newest of everything shown, so that a watch can go on after it.
func (p deploymentParts) revision() uint64 {
	newest := p.deployment.Revision
	if p.build != nil {
		newest = max(newest, p.build.Revision)
	}
	if p.release != nil {
		newest = max(newest, p.release.Revision)
	}
	for _, t := range p.tasks {
		newest = max(newest, t.Revision)
	}
	return newest
}

func phasesOut(phases []gestor.Phase) []*gestorv1.Phase {
	out := make([]*gestorv1.Phase, len(phases))
	for i, p := range phases {
		out[i] = &gestorv1.Phase{Name: p.Name, StartedAt: timeOut(p.StartedAt), FinishedAt: timeOut(p.FinishedAt)}
	}
	return out
}

// waitingOf is why a running deployment waits: for its switch, or the first reason for which one of its tasks does.
func waitingOf(d gestor.Deployment, tasks []gestor.Task) string {
	if d.State.Ended() {
		return ""
	}
	if d.Waiting != "" {
		return d.Waiting
	}
	for _, t := range tasks {
		if t.State == gestor.TaskQueued && t.Waiting != "" {
			return t.Waiting
		}
		if t.State == gestor.TaskLost {
			return "a node was lost with task " + string(t.ID) + ": retry or cancel it"
		}
	}
	return ""
}

// deploymentNodeOut is what a deployment does on one node: its latest task there, and whether the new release serves.
func deploymentNodeOut(id gestor.NodeID, p deploymentParts) *gestorv1.DeploymentNode {
	out := &gestorv1.DeploymentNode{NodeId: string(id), NodeName: p.names[id]}
	for _, t := range p.tasks {
		if t.NodeID != id || t.Kind == gestor.TaskBuild || t.Kind == gestor.TaskRetire {
			continue
		}
		revert := isRevert(t)
		if t.Kind == gestor.TaskSwitch && t.State == gestor.TaskSucceeded {
			out.Switched = !revert
		}
		out.TaskId, out.TaskKind, out.TaskState = string(t.ID), t.Kind, string(t.State)
		out.Detail, out.Error = detailOf(t), t.Error
		if revert {
			out.TaskKind = "revert"
		}
	}
	return out
}

// detailOf is what a task is doing, or why it waits.
func detailOf(t gestor.Task) string {
	if t.State == gestor.TaskQueued {
		return t.Waiting
	}
	if t.State.Held() {
		return t.Phase
	}
	return ""
}
