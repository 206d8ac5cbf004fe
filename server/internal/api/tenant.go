package api

import (
	"context"
	"errors"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// TenantDeps are what the tenant service needs; all of it.
type TenantDeps struct {
	Engine Engine
}

// TenantService keeps the customers of the installation.
type TenantService struct{ deps TenantDeps }

var _ gestorv1connect.TenantServiceHandler = (*TenantService)(nil)

// NewTenantService makes the service.
func NewTenantService(d TenantDeps) *TenantService { return &TenantService{deps: d} }

// ListTenants lists all tenants by name.
func (s *TenantService) ListTenants(ctx context.Context, req *gestorv1.ListTenantsRequest) (*gestorv1.ListTenantsResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	tenants, next, err := r.view.Tenants(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	used, err := r.view.Use(ctx)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListTenantsResponse{Page: pageOut(next)}
	for _, t := range tenants {
		out.Tenants = append(out.Tenants, tenantOut(t, used[t.ID]))
	}
	return out, nil
}

// GetTenant returns one tenant.
func (s *TenantService) GetTenant(ctx context.Context, req *gestorv1.GetTenantRequest) (*gestorv1.GetTenantResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	t, err := r.tenant(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	out, err := r.tenantOut(ctx, t.ID)
	return &gestorv1.GetTenantResponse{Tenant: out}, err
}

// CreateTenant makes a tenant.
func (s *TenantService) CreateTenant(ctx context.Context, req *gestorv1.CreateTenantRequest) (*gestorv1.CreateTenantResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	name, err := gestor.CheckTitle("name", req.GetName())
	if err != nil {
		return nil, err
	}
	t := gestor.Tenant{
		ID: gestor.NewID[gestor.TenantID]("ten"), Name: name, Plan: tenantPlanIn(req.GetPlan()), Quotas: quotasIn(req.GetQuotas()),
	}
	if t.Plan == "" {
		t.Plan = gestor.PlanFree
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.CreateTenant{Tenant: t})
	if err != nil {
		return nil, err
	}
	out, err := r.tenantOut(ctx, gestor.TenantID(receipt.Object))
	return &gestorv1.CreateTenantResponse{Tenant: out}, err
}

// UpdateTenant changes a tenant's name, plan and quotas.
func (s *TenantService) UpdateTenant(ctx context.Context, req *gestorv1.UpdateTenantRequest) (*gestorv1.UpdateTenantResponse, error) {
	op := command.UpdateTenant{}
	if plan := tenantPlanIn(req.GetPlan()); plan != "" {
		op.Plan = &plan
	}
	if req.GetQuotas() != nil {
		quotas := quotasIn(req.GetQuotas())
		op.Quotas = &quotas
	}
	if req.Name != nil {
		name, err := gestor.CheckTitle("name", req.GetName())
		if err != nil {
			return nil, err
		}
		op.Name = &name
	}
	t, err := s.change(ctx, req, func(id gestor.TenantID) command.Op {
		op.ID = id
		return op
	})
	return &gestorv1.UpdateTenantResponse{Tenant: t}, err
}

// SuspendTenant refuses every change of a tenant.
func (s *TenantService) SuspendTenant(ctx context.Context, req *gestorv1.SuspendTenantRequest) (*gestorv1.SuspendTenantResponse, error) {
	t, err := s.turn(ctx, req, gestor.StatusSuspended, req.GetReason())
	return &gestorv1.SuspendTenantResponse{Tenant: t}, err
}

// ResumeTenant lets a tenant change things again.
func (s *TenantService) ResumeTenant(ctx context.Context, req *gestorv1.ResumeTenantRequest) (*gestorv1.ResumeTenantResponse, error) {
	t, err := s.turn(ctx, req, gestor.StatusActive, "")
	return &gestorv1.ResumeTenantResponse{Tenant: t}, err
}

// CancelTenant ends a tenant's contract.
func (s *TenantService) CancelTenant(ctx context.Context, req *gestorv1.CancelTenantRequest) (*gestorv1.CancelTenantResponse, error) {
	t, err := s.turn(ctx, req, gestor.StatusCancelled, req.GetReason())
	return &gestorv1.CancelTenantResponse{Tenant: t}, err
}

// DeleteTenant puts a tenant into the trash.
func (s *TenantService) DeleteTenant(ctx context.Context, req *gestorv1.DeleteTenantRequest) (*gestorv1.DeleteTenantResponse, error) {
	t, err := s.turn(ctx, req, gestor.StatusTrash, req.GetReason())
	return &gestorv1.DeleteTenantResponse{Tenant: t}, err
}

// RestoreTenant takes a tenant out of the trash.
func (s *TenantService) RestoreTenant(ctx context.Context, req *gestorv1.RestoreTenantRequest) (*gestorv1.RestoreTenantResponse, error) {
	t, err := s.change(ctx, req, func(id gestor.TenantID) command.Op { return command.RestoreTenant{ID: id} })
	return &gestorv1.RestoreTenantResponse{Tenant: t}, err
}

// aboutTenant is a request of an operator that names a tenant.
type aboutTenant interface {
	GetTenant() string
	GetRequestId() string
}

func (s *TenantService) turn(ctx context.Context, req aboutTenant, status, reason string) (*gestorv1.Tenant, error) {
	if reason != "" {
		checked, err := checkReason("reason", reason)
		if err != nil {
			return nil, err
		}
		reason = checked
	}
	return s.change(ctx, req, func(id gestor.TenantID) command.Op {
		return command.SetTenantStatus{ID: id, Status: status, Reason: reason}
	})
}

// change proposes an op for a tenant and returns the tenant after it.
func (s *TenantService) change(ctx context.Context, req aboutTenant, op func(gestor.TenantID) command.Op) (*gestorv1.Tenant, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	t, err := r.tenant(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), op(t.ID)); err != nil {
		return nil, err
	}
	return r.tenantOut(ctx, t.ID)
}

// GetOwnTenant returns the caller's tenant.
func (s *TenantService) GetOwnTenant(ctx context.Context, _ *gestorv1.GetOwnTenantRequest) (*gestorv1.GetOwnTenantResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	out, err := r.tenantOut(ctx, r.caller.Tenant)
	return &gestorv1.GetOwnTenantResponse{Tenant: out}, err
}

// UpdateOwnTenant changes what a tenant decides of itself.
func (s *TenantService) UpdateOwnTenant(ctx context.Context, req *gestorv1.UpdateOwnTenantRequest) (*gestorv1.UpdateOwnTenantResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	op := command.UpdateTenant{ID: r.caller.Tenant, SecondFactor: req.SecondFactor} //nolint:protogetter // absent is not false
	if req.Name != nil {
		name, err := gestor.CheckTitle("name", req.GetName())
		if err != nil {
			return nil, err
		}
		op.Name = &name
	}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	out, err := r.tenantOut(ctx, r.caller.Tenant)
	return &gestorv1.UpdateOwnTenantResponse{Tenant: out}, err
}

// tenant finds a tenant by id or name, of those that the reach is over: any for operators, the own one for others.
func (r reach) tenant(ctx context.Context, ref string) (gestor.Tenant, error) {
	if strings.HasPrefix(ref, "ten_") {
		t, err := r.view.Tenant(ctx, gestor.TenantID(ref))
		return t, absent(err, "tenant", ref)
	}
	found, err := r.view.TenantsByName(ctx, ref)
	switch {
	case errors.Is(err, fault.KindNotFound) || err == nil && len(found) == 0:
		return gestor.Tenant{}, fault.NotFound("there is no tenant %q", ref)
	case err != nil:
		return gestor.Tenant{}, err
	case len(found) > 1:
		var ids []string
		for _, t := range found {
			ids = append(ids, string(t.ID))
		}
		return gestor.Tenant{}, fault.Conflict("%d tenants are named %q", len(found), ref).WithFix("name one by its id: %s", strings.Join(ids, ", "))
	}
	return found[0], nil
}

func (r reach) tenantOut(ctx context.Context, id gestor.TenantID) (*gestorv1.Tenant, error) {
	t, err := r.view.Tenant(ctx, id)
	if err != nil {
		return nil, err
	}
	used, err := r.view.UseOf(ctx, id)
	return tenantOut(t, used), err
}
