package clitest

import (
	"context"

	"google.golang.org/protobuf/proto"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type tenants struct{ *Server }

// tenant is the scripted tenant of that name or id, a copy; the first is the caller's own.
func (h tenants) tenant(name string) (*gestorv1.Tenant, error) {
	t, err := find(h.state.Tenants, "tenant", name, func(t *gestorv1.Tenant) bool { return t.GetName() == name || t.GetId() == name })
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(t), nil
}

// turned is the tenant with another status.
func (h tenants) turned(name string, status gestorv1.TenantStatus) (*gestorv1.Tenant, error) {
	t, err := h.tenant(name)
	if err == nil {
		t.Status = status
	}
	return t, err
}

func (h tenants) ListTenants(context.Context, *gestorv1.ListTenantsRequest) (*gestorv1.ListTenantsResponse, error) {
	return &gestorv1.ListTenantsResponse{Tenants: h.state.Tenants}, nil
}

func (h tenants) GetTenant(_ context.Context, r *gestorv1.GetTenantRequest) (*gestorv1.GetTenantResponse, error) {
	t, err := h.tenant(r.GetTenant())
	return &gestorv1.GetTenantResponse{Tenant: t}, err
}

func (h tenants) CreateTenant(_ context.Context, r *gestorv1.CreateTenantRequest) (*gestorv1.CreateTenantResponse, error) {
	return &gestorv1.CreateTenantResponse{Tenant: &gestorv1.Tenant{Id: "ten_new", Name: r.GetName(), Plan: max(r.GetPlan(), gestorv1.TenantPlan_TENANT_PLAN_FREE)}}, nil
}

func (h tenants) UpdateTenant(_ context.Context, r *gestorv1.UpdateTenantRequest) (*gestorv1.UpdateTenantResponse, error) {
	t, err := h.tenant(r.GetTenant())
	if err == nil && r.GetName() != "" {
		t.Name = r.GetName()
	}
	if err == nil && r.GetQuotas() != nil {
		t.Limits = r.GetQuotas()
	}
	return &gestorv1.UpdateTenantResponse{Tenant: t}, err
}

func (h tenants) SuspendTenant(_ context.Context, r *gestorv1.SuspendTenantRequest) (*gestorv1.SuspendTenantResponse, error) {
	t, err := h.turned(r.GetTenant(), gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED)
	return &gestorv1.SuspendTenantResponse{Tenant: t}, err
}

func (h tenants) ResumeTenant(_ context.Context, r *gestorv1.ResumeTenantRequest) (*gestorv1.ResumeTenantResponse, error) {
	t, err := h.turned(r.GetTenant(), gestorv1.TenantStatus_TENANT_STATUS_ACTIVE)
	return &gestorv1.ResumeTenantResponse{Tenant: t}, err
}

func (h tenants) CancelTenant(_ context.Context, r *gestorv1.CancelTenantRequest) (*gestorv1.CancelTenantResponse, error) {
	t, err := h.turned(r.GetTenant(), gestorv1.TenantStatus_TENANT_STATUS_CANCELLED)
	return &gestorv1.CancelTenantResponse{Tenant: t}, err
}

func (h tenants) DeleteTenant(_ context.Context, r *gestorv1.DeleteTenantRequest) (*gestorv1.DeleteTenantResponse, error) {
	t, err := h.turned(r.GetTenant(), gestorv1.TenantStatus_TENANT_STATUS_TRASH)
	return &gestorv1.DeleteTenantResponse{Tenant: t}, err
}

func (h tenants) RestoreTenant(_ context.Context, r *gestorv1.RestoreTenantRequest) (*gestorv1.RestoreTenantResponse, error) {
	t, err := h.turned(r.GetTenant(), gestorv1.TenantStatus_TENANT_STATUS_ACTIVE)
	if t != nil {
		t.PurgeAt = nil
	}
	return &gestorv1.RestoreTenantResponse{Tenant: t}, err
}

func (h tenants) own() (*gestorv1.Tenant, error) {
	if len(h.state.Tenants) == 0 {
		return &gestorv1.Tenant{Id: "ten_1", Name: "Example", Status: gestorv1.TenantStatus_TENANT_STATUS_ACTIVE}, nil
	}
	return h.tenant(h.state.Tenants[0].GetId())
}

func (h tenants) GetOwnTenant(context.Context, *gestorv1.GetOwnTenantRequest) (*gestorv1.GetOwnTenantResponse, error) {
	t, err := h.own()
	return &gestorv1.GetOwnTenantResponse{Tenant: t}, err
}

func (h tenants) UpdateOwnTenant(_ context.Context, r *gestorv1.UpdateOwnTenantRequest) (*gestorv1.UpdateOwnTenantResponse, error) {
	t, err := h.own()
	if err == nil && r.GetName() != "" {
		t.Name = r.GetName()
	}
	if err == nil {
		t.SecondFactor = r.GetSecondFactor()
	}
	return &gestorv1.UpdateOwnTenantResponse{Tenant: t}, err
}

func (h nodes) ShareNode(_ context.Context, r *gestorv1.ShareNodeRequest) (*gestorv1.ShareNodeResponse, error) {
	n, err := h.node(r.GetNode())
	return &gestorv1.ShareNodeResponse{Node: n}, err
}

func (h nodes) DedicateNode(_ context.Context, r *gestorv1.DedicateNodeRequest) (*gestorv1.DedicateNodeResponse, error) {
	n, err := h.node(r.GetNode())
	return &gestorv1.DedicateNodeResponse{Node: n}, err
}
