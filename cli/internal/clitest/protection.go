package clitest

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type (
	protections struct{ *Server }
	permissions struct{ *Server }
)

// ListWaitingDeployments lists those whose first state waits.
func (h deployments) ListWaitingDeployments(_ context.Context, r *gestorv1.ListWaitingDeploymentsRequest) (*gestorv1.ListWaitingDeploymentsResponse, error) {
	res := &gestorv1.ListWaitingDeploymentsResponse{}
	for _, states := range h.state.Deployments {
		d := states[0]
		if d.GetHold() != nil && (!r.GetForMe() || d.GetHold().GetYouMayApprove()) {
			res.Deployments = append(res.Deployments, &gestorv1.WaitingDeployment{App: "blog", Deployment: d})
		}
	}
	return res, nil
}

// ApproveDeployment answers with the last state.
func (h deployments) ApproveDeployment(_ context.Context, r *gestorv1.ApproveDeploymentRequest) (*gestorv1.ApproveDeploymentResponse, error) {
	d, err := h.latest(r.GetId())
	return &gestorv1.ApproveDeploymentResponse{Deployment: d}, err
}

// RejectDeployment answers with the last state.
func (h deployments) RejectDeployment(_ context.Context, r *gestorv1.RejectDeploymentRequest) (*gestorv1.RejectDeploymentResponse, error) {
	d, err := h.latest(r.GetId())
	return &gestorv1.RejectDeploymentResponse{Deployment: d}, err
}

// OverrideFreeze answers with the last state.
func (h deployments) OverrideFreeze(_ context.Context, r *gestorv1.OverrideFreezeRequest) (*gestorv1.OverrideFreezeResponse, error) {
	d, err := h.latest(r.GetId())
	return &gestorv1.OverrideFreezeResponse{Deployment: d}, err
}

func (h deployments) latest(id string) (*gestorv1.Deployment, error) {
	states, err := h.states(id)
	if err != nil {
		return nil, err
	}
	return states[len(states)-1], nil
}

// ListProtections lists those that were set, and empty ones for the other environments.
func (h protections) ListProtections(context.Context, *gestorv1.ListProtectionsRequest) (*gestorv1.ListProtectionsResponse, error) {
	res := &gestorv1.ListProtectionsResponse{}
	for _, e := range []gestorv1.Environment{
		gestorv1.Environment_ENVIRONMENT_DEVELOPMENT, gestorv1.Environment_ENVIRONMENT_STAGING, gestorv1.Environment_ENVIRONMENT_PRODUCTION,
	} {
		res.Protections = append(res.Protections, h.protection(e))
	}
	return res, nil
}

func (h protections) protection(e gestorv1.Environment) *gestorv1.Protection {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.protected[e]; p != nil {
		return p
	}
	return &gestorv1.Protection{Environment: e, Approvals: 1}
}

// GetProtection returns what was set.
func (h protections) GetProtection(_ context.Context, r *gestorv1.GetProtectionRequest) (*gestorv1.GetProtectionResponse, error) {
	return &gestorv1.GetProtectionResponse{Protection: h.protection(r.GetEnvironment())}, nil
}

// UpdateProtection keeps what it is told.
func (h protections) UpdateProtection(_ context.Context, r *gestorv1.UpdateProtectionRequest) (*gestorv1.UpdateProtectionResponse, error) {
	p := r.GetProtection()
	if now := h.protection(p.GetEnvironment()); now.GetRevision() != r.GetExpectedRevision() {
		return nil, fault.Conflict("it was changed meanwhile")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.Revision++
	p.UpdatedBy, p.UpdatedAt = Email, timestamppb.New(time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC))
	h.protected[p.GetEnvironment()] = p
	return &gestorv1.UpdateProtectionResponse{Protection: p}, nil
}

// GetPermissions returns a small table.
func (permissions) GetPermissions(context.Context, *gestorv1.GetPermissionsRequest) (*gestorv1.GetPermissionsResponse, error) {
	return &gestorv1.GetPermissionsResponse{Permissions: []*gestorv1.PermissionEntry{
		{
			Name: "APP_READ", Description: "See apps.", Roles: []string{"admin", "devops", "developer", "viewer"}, Yours: true,
			Methods: []*gestorv1.PermissionMethod{{Name: "AppService/GetApp"}},
		},
		{
			Name: "APP_DELETE", Description: "Delete apps.", Roles: []string{"admin", "devops"},
			Methods: []*gestorv1.PermissionMethod{{Name: "AppService/DeleteApp", Audit: "app.delete", StepUp: true}},
		},
		{Name: "SERVER_MANAGE", Description: "Add control servers.", Operator: true},
	}}, nil
}
