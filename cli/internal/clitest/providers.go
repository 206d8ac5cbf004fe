package clitest

import (
	"context"
	"sync"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
)

// redirect is what is entered at providers.
const redirect = "https://gestor.example.com/oidc/callback"

// providers keeps one provider in memory. One whose issuer is "https://dead.example.com" fails its test.
type providers struct {
	gestorv1connect.UnimplementedProviderServiceHandler
	mu  *sync.Mutex
	one **gestorv1.Provider // guarded by mu
}

func newProviders() providers {
	var none *gestorv1.Provider
	return providers{mu: &sync.Mutex{}, one: &none}
}

func (h providers) find(ref string) (*gestorv1.Provider, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := *h.one; p.GetId() == ref || p.GetSettings().GetName() == ref {
		return p, nil
	}
	return nil, fault.NotFound("there is no provider %q", ref)
}

// ListProviders lists it.
func (h providers) ListProviders(context.Context, *gestorv1.ListProvidersRequest) (*gestorv1.ListProvidersResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	res := &gestorv1.ListProvidersResponse{RedirectUrl: redirect}
	if *h.one != nil {
		res.Providers = append(res.Providers, *h.one)
	}
	return res, nil
}

// GetProvider finds it.
func (h providers) GetProvider(_ context.Context, r *gestorv1.GetProviderRequest) (*gestorv1.GetProviderResponse, error) {
	p, err := h.find(r.GetProvider())
	return &gestorv1.GetProviderResponse{Provider: p}, err
}

// CreateProvider keeps it.
func (h providers) CreateProvider(_ context.Context, r *gestorv1.CreateProviderRequest) (*gestorv1.CreateProviderResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.one = &gestorv1.Provider{Id: "prv_1", Settings: r.GetSettings(), HasSecret: r.GetClientSecret() != "", RedirectUrl: redirect, Revision: 1}
	return &gestorv1.CreateProviderResponse{Provider: *h.one}, nil
}

// UpdateProvider replaces its settings.
func (h providers) UpdateProvider(_ context.Context, r *gestorv1.UpdateProviderRequest) (*gestorv1.UpdateProviderResponse, error) {
	p, err := h.find(r.GetProvider())
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.Settings = r.GetSettings()
	p.Revision++
	return &gestorv1.UpdateProviderResponse{Provider: p}, nil
}

// DeleteProvider forgets it.
func (h providers) DeleteProvider(_ context.Context, r *gestorv1.DeleteProviderRequest) (*gestorv1.DeleteProviderResponse, error) {
	_, err := h.find(r.GetProvider())
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.one = nil
	return &gestorv1.DeleteProviderResponse{}, err
}

// TestProvider fails for a provider that is dead.
func (h providers) TestProvider(_ context.Context, r *gestorv1.TestProviderRequest) (*gestorv1.TestProviderResponse, error) {
	p, err := h.find(r.GetProvider())
	if p.GetSettings().GetIssuer() == "https://dead.example.com" {
		return &gestorv1.TestProviderResponse{Error: "dead.example.com did not answer in time"}, nil
	}
	return &gestorv1.TestProviderResponse{Good: true, AuthorizationEndpoint: p.GetSettings().GetIssuer() + "/authorize", Keys: 2}, err
}

// ListIdentities lists one.
func (h providers) ListIdentities(context.Context, *gestorv1.ListIdentitiesRequest) (*gestorv1.ListIdentitiesResponse, error) {
	return &gestorv1.ListIdentitiesResponse{Identities: []*gestorv1.Identity{{
		Id: "idn_1", ProviderId: "prv_1", UserId: "usr_1", Email: "ana@example.com", Subject: "248289761001", ProviderEmail: "ana@example.com",
	}}}, nil
}

// DeleteIdentity forgets one.
func (h providers) DeleteIdentity(context.Context, *gestorv1.DeleteIdentityRequest) (*gestorv1.DeleteIdentityResponse, error) {
	return &gestorv1.DeleteIdentityResponse{}, nil
}
