package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

// ListWaitingDeployments lists what waits before its switch.
func (s *DeploymentService) ListWaitingDeployments(ctx context.Context, req *gestorv1.ListWaitingDeploymentsRequest) (*gestorv1.ListWaitingDeploymentsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	active, err := r.view.ActiveDeployments(ctx)
	if err != nil {
		return nil, err
	}
	const most = 100
	out := &gestorv1.ListWaitingDeploymentsResponse{}
	for _, d := range active {
		if d.Waiting == "" || len(out.GetDeployments()) == most {
			continue
		}
		app, err := r.view.App(ctx, d.AppID)
		if err != nil {
			return nil, err
		}
		whole, err := s.assemble(ctx, r, d)
		if err != nil {
			return nil, err
		}
		if !req.GetForMe() || whole.GetHold().GetYouMayApprove() {
			out.Deployments = append(out.Deployments, &gestorv1.WaitingDeployment{App: app.Slug, Deployment: whole})
		}
	}
	return out, nil
}

// ApproveDeployment says that a deployment may switch.
func (s *DeploymentService) ApproveDeployment(ctx context.Context, req *gestorv1.ApproveDeploymentRequest) (*gestorv1.ApproveDeploymentResponse, error) {
	d, err := s.decide(ctx, req.GetId(), req.GetRequestId(), "comment", req.GetComment(), func(id gestor.DeploymentID, text string) command.Op {
		return command.ApproveDeployment{ID: id, Comment: text}
	})
	return &gestorv1.ApproveDeploymentResponse{Deployment: d}, err
}

// RejectDeployment ends a deployment before its switch.
func (s *DeploymentService) RejectDeployment(ctx context.Context, req *gestorv1.RejectDeploymentRequest) (*gestorv1.RejectDeploymentResponse, error) {
	d, err := s.decide(ctx, req.GetId(), req.GetRequestId(), "comment", req.GetComment(), func(id gestor.DeploymentID, text string) command.Op {
		return command.RejectDeployment{ID: id, Comment: text}
	})
	return &gestorv1.RejectDeploymentResponse{Deployment: d}, err
}

// OverrideFreeze lets a deployment switch during a freeze.
func (s *DeploymentService) OverrideFreeze(ctx context.Context, req *gestorv1.OverrideFreezeRequest) (*gestorv1.OverrideFreezeResponse, error) {
	d, err := s.decide(ctx, req.GetId(), req.GetRequestId(), "reason", req.GetReason(), func(id gestor.DeploymentID, text string) command.Op {
		return command.OverrideFreeze{ID: id, Reason: text}
	})
	return &gestorv1.OverrideFreezeResponse{Deployment: d}, err
}

// decide carries out what a person decided about a deployment that waits.
func (s *DeploymentService) decide(ctx context.Context, id, requestID, field, text string, op func(gestor.DeploymentID, string) command.Op) (*gestorv1.Deployment, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if err := gestor.CheckRemark(field, text); err != nil {
		return nil, err
	}
	d, err := r.deployment(ctx, gestor.DeploymentID(id))
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, requestID, op(d.ID, text)); err != nil {
		return nil, err
	}
	return s.out(ctx, r, d.ID)
}

// hold is what the protection of its environment asks of a deployment; nil if that is nothing, or it has ended.
func (r reach) hold(ctx context.Context, d gestor.Deployment, app gestor.App, now time.Time) (*gestorv1.Hold, error) {
	if d.State.Ended() || app.ID == "" {
		return nil, nil
	}
	c, err := protect.Read(ctx, r.view, d, app)
	if err != nil || len(c.Protections) == 0 {
		return nil, err
	}
	may, err := r.mayApprove(ctx, c, app)
	return holdOut(c, c.Hold(now), may), err
}

// mayApprove reports whether the caller may approve a deployment now, and has not.
func (r reach) mayApprove(ctx context.Context, c protect.Case, app gestor.App) (bool, error) {
	d := c.Deployment
	if d.State != gestor.DeploymentPreparing || d.Cancelling || c.Missing() == 0 || !r.caller.May(gestorv1.Permission_PERMISSION_DEPLOY_APPROVE) {
		return false, nil
	}
	person := r.caller.User
	if person.ID == "" {
		var err error
		if person, err = r.view.User(ctx, r.caller.Token.UserID); err != nil {
			if errors.Is(err, fault.KindNotFound) {
				return false, nil
			}
			return false, err
		}
	}
	given := func(a gestor.Approval) bool { return a.UserID == person.ID }
	return protect.MayApprove(d, app, person) == nil && !slices.ContainsFunc(c.Approvals, given), nil
}
