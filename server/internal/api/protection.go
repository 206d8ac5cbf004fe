package api

import (
	"context"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ProtectionDeps are what the protection service needs; all of it.
type ProtectionDeps struct{ Engine Engine }

// ProtectionService says what deployments to an environment need before they switch.
type ProtectionService struct{ deps ProtectionDeps }

var _ gestorv1connect.ProtectionServiceHandler = (*ProtectionService)(nil)

// NewProtectionService makes the service.
func NewProtectionService(d ProtectionDeps) *ProtectionService { return &ProtectionService{deps: d} }

// ListProtections lists the protections of all environments.
func (s *ProtectionService) ListProtections(ctx context.Context, _ *gestorv1.ListProtectionsRequest) (*gestorv1.ListProtectionsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListProtectionsResponse{}
	for _, environment := range gestor.Environments() {
		p, err := r.protection(ctx, environment)
		if err != nil {
			return nil, err
		}
		out.Protections = append(out.Protections, p)
	}
	return out, nil
}

// GetProtection returns the protection of an environment.
func (s *ProtectionService) GetProtection(ctx context.Context, req *gestorv1.GetProtectionRequest) (*gestorv1.GetProtectionResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	p, err := r.protection(ctx, environmentName(req.GetEnvironment()))
	return &gestorv1.GetProtectionResponse{Protection: p}, err
}

// UpdateProtection replaces the protection of an environment.
func (s *ProtectionService) UpdateProtection(ctx context.Context, req *gestorv1.UpdateProtectionRequest) (*gestorv1.UpdateProtectionResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	p, err := protectionIn(req.GetProtection()).Validate()
	if err != nil {
		return nil, err
	}
	op := command.UpdateProtection{Protection: p, ExpectedRevision: req.GetExpectedRevision()}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	out, err := r.protection(ctx, p.Environment)
	return &gestorv1.UpdateProtectionResponse{Protection: out}, err
}

func (r reach) protection(ctx context.Context, environment string) (*gestorv1.Protection, error) {
	p, err := r.view.Protection(ctx, r.caller.Tenant, environment)
	p.Environment = environment
	return protectionOut(p), err
}
