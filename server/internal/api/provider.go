package api

import (
	"context"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/notify"
)

// ProviderTester asks a provider who it is. Its error is for people.
type ProviderTester interface {
	Test(ctx context.Context, p gestor.Provider) (endpoint string, keys int, err error)
	// RedirectURL is where providers send people back to.
	RedirectURL() string
	// PlainAllowed reports whether there are networks that may be reached without TLS.
	PlainAllowed() bool
}

// ProviderDeps are what the provider service needs; all of it.
type ProviderDeps struct {
	Engine Engine
	Sealer Sealer
	Tester ProviderTester
}

// ProviderService keeps the other places where people of a tenant may sign in.
type ProviderService struct {
	deps  ProviderDeps
	tests *limit.Rates // by tenant
}

var _ gestorv1connect.ProviderServiceHandler = (*ProviderService)(nil)

// NewProviderService makes the service.
func NewProviderService(d ProviderDeps) *ProviderService {
	return &ProviderService{deps: d, tests: limit.NewRates(limit.RatesOptions{PerSecond: testsPerSecond, Burst: testsAtOnce})}
}

// ListProviders lists the providers by name.
func (s *ProviderService) ListProviders(ctx context.Context, _ *gestorv1.ListProvidersRequest) (*gestorv1.ListProvidersResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	all, err := r.view.Providers(ctx)
	if err != nil {
		return nil, err
	}
	linked, err := r.view.IdentityCounts(ctx)
	out := &gestorv1.ListProvidersResponse{RedirectUrl: s.deps.Tester.RedirectURL()}
	for _, p := range all {
		out.Providers = append(out.Providers, providerOut(p, out.GetRedirectUrl(), linked[p.ID]))
	}
	return out, err
}

// GetProvider returns one provider.
func (s *ProviderService) GetProvider(ctx context.Context, req *gestorv1.GetProviderRequest) (*gestorv1.GetProviderResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	out, err := s.shown(ctx, r, req.GetProvider())
	return &gestorv1.GetProviderResponse{Provider: out}, err
}

// provider finds a provider by id or name.
func (r reach) provider(ctx context.Context, ref string) (gestor.Provider, error) {
	if strings.HasPrefix(ref, "prv_") {
		p, err := r.view.Provider(ctx, gestor.ProviderID(ref))
		return p, absent(err, "provider", ref)
	}
	p, err := r.view.ProviderByName(ctx, ref)
	return p, absent(err, "provider", ref)
}

func (s *ProviderService) shown(ctx context.Context, r reach, ref string) (*gestorv1.Provider, error) {
	p, err := r.provider(ctx, ref)
	if err != nil {
		return nil, err
	}
	linked, err := r.view.IdentityCounts(ctx)
	return providerOut(p, s.deps.Tester.RedirectURL(), linked[p.ID]), err
}

// CreateProvider makes a provider.
func (s *ProviderService) CreateProvider(ctx context.Context, req *gestorv1.CreateProviderRequest) (*gestorv1.CreateProviderResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if err := r.mayVouch(); err != nil {
		return nil, err
	}
	p := gestor.Provider{ID: gestor.NewID[gestor.ProviderID]("prv")}
	if err := s.settle(&p, req.GetSettings(), req.GetClientSecret()); err != nil {
		return nil, err
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.CreateProvider{Provider: p})
	if err != nil {
		return nil, err
	}
	out, err := s.shown(ctx, r, receipt.Object)
	return &gestorv1.CreateProviderResponse{Provider: out}, err
}

// mayVouch refuses a token that is for less than people may do who sign in through what it sets.
func (r reach) mayVouch() error { return r.mayGrant(gestor.RoleAdmin, r.caller.User.Operator) }

// settle checks what is chosen of a provider and puts it in.
func (s *ProviderService) settle(p *gestor.Provider, in *gestorv1.ProviderSettings, secret string) error {
	if err := providerIn(p, in, s.deps.Tester.PlainAllowed()); err != nil {
		return err
	}
	if secret == "" {
		return nil
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fault.Invalid("client_secret", "it holds characters that cannot be sent").WithFix("copy it anew from the provider, without line breaks")
	}
	p.SecretSealed = s.deps.Sealer.Seal([]byte(secret), gestor.ProviderPlace(p.ID))
	return nil
}

// UpdateProvider replaces what is chosen of a provider.
func (s *ProviderService) UpdateProvider(ctx context.Context, req *gestorv1.UpdateProviderRequest) (*gestorv1.UpdateProviderResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if err := r.mayVouch(); err != nil {
		return nil, err
	}
	known, err := r.provider(ctx, req.GetProvider())
	if err != nil {
		return nil, err
	}
	p := gestor.Provider{ID: known.ID}
	if err := s.settle(&p, req.GetSettings(), req.GetClientSecret()); err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.UpdateProvider{Provider: p, ExpectedRevision: req.GetExpectedRevision()}); err != nil {
		return nil, err
	}
	out, err := s.shown(ctx, r, string(p.ID))
	return &gestorv1.UpdateProviderResponse{Provider: out}, err
}

// DeleteProvider removes a provider.
func (s *ProviderService) DeleteProvider(ctx context.Context, req *gestorv1.DeleteProviderRequest) (*gestorv1.DeleteProviderResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	p, err := r.provider(ctx, req.GetProvider())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteProvider{ID: p.ID})
	return &gestorv1.DeleteProviderResponse{}, err
}

// TestProvider asks a provider who it is, from this server.
func (s *ProviderService) TestProvider(ctx context.Context, req *gestorv1.TestProviderRequest) (*gestorv1.TestProviderResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	p, err := r.provider(ctx, req.GetProvider())
	if err != nil {
		return nil, err
	}
	if wait := s.tests.Take(string(p.TenantID)); wait > 0 {
		return nil, fault.Exhausted("providers were tested too often").WithRetryAfter(wait)
	}
	out := &gestorv1.TestProviderResponse{Good: true}
	endpoint, keys, err := s.deps.Tester.Test(ctx, p)
	if err != nil {
		out.Good, out.Error = false, notify.Text(err)
	}
	out.AuthorizationEndpoint, out.Keys = endpoint, int32(keys)
	return out, r.record(ctx, gestor.AuditEntry{TenantID: p.TenantID, Object: string(p.ID), Outcome: gestor.OutcomeDone}, map[string]any{
		"provider": p.Name, "error": out.GetError(),
	})
}

// ListIdentities lists who is who at the providers.
func (s *ProviderService) ListIdentities(ctx context.Context, req *gestorv1.ListIdentitiesRequest) (*gestorv1.ListIdentitiesResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	var of gestor.UserID
	if req.GetUser() != "" {
		u, err := r.user(ctx, req.GetUser())
		if err != nil {
			return nil, err
		}
		of = u.ID
	}
	found, next, err := r.view.Identities(ctx, of, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListIdentitiesResponse{Page: pageOut(next)}
	for _, i := range found {
		u, err := r.view.User(ctx, i.UserID)
		if err != nil {
			return nil, err
		}
		out.Identities = append(out.Identities, identityOut(i, u))
	}
	return out, nil
}

// DeleteIdentity forgets who somebody is at a provider.
func (s *ProviderService) DeleteIdentity(ctx context.Context, req *gestorv1.DeleteIdentityRequest) (*gestorv1.DeleteIdentityResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	i, err := r.view.Identity(ctx, gestor.IdentityID(req.GetIdentity()))
	if err := absent(err, "identity", req.GetIdentity()); err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteIdentity{ID: i.ID})
	return &gestorv1.DeleteIdentityResponse{}, err
}
