package api

import (
	"context"
	"strings"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// sessionOut converts a session of a user.
func sessionOut(ctx context.Context, e Engine, user gestor.User, session gestor.Session) (*gestorv1.Session, error) {
	tenant, err := e.View(gestor.TenantScope(user.TenantID)).Tenant(ctx, user.TenantID)
	if err != nil {
		return nil, err
	}
	return convertSession(tenant, user, session), nil
}

func convertSession(tenant gestor.Tenant, user gestor.User, s gestor.Session) *gestorv1.Session {
	return &gestorv1.Session{
		Id:           string(s.ID),
		UserId:       string(user.ID),
		Email:        user.Email,
		Role:         roles[user.Role],
		TenantId:     string(tenant.ID),
		TenantName:   tenant.Name,
		ExpiresAt:    timeOut(s.ExpiresAt),
		CreatedAt:    timeOut(s.CreatedAt),
		SeenAt:       timeOut(s.SeenAt),
		FreshAt:      timeOut(s.FreshAt),
		SecondFactor: s.SecondFactor,
		Address:      s.Address,
		SeenFrom:     s.SeenFrom,
		UserAgent:    strings.ToValidUTF8(s.UserAgent, "?"),
	}
}

var roles = map[gestor.Role]gestorv1.Role{
	gestor.RoleAdmin:     gestorv1.Role_ROLE_ADMIN,
	gestor.RoleDevOps:    gestorv1.Role_ROLE_DEVOPS,
	gestor.RoleDeveloper: gestorv1.Role_ROLE_DEVELOPER,
	gestor.RoleViewer:    gestorv1.Role_ROLE_VIEWER,
}

var factorKinds = map[gestor.FactorKind]gestorv1.FactorKind{
	gestor.FactorTOTP:    gestorv1.FactorKind_FACTOR_KIND_TOTP,
	gestor.FactorPasskey: gestorv1.FactorKind_FACTOR_KIND_PASSKEY,
}

func factorOut(f gestor.Factor) *gestorv1.Factor {
	return &gestorv1.Factor{
		Id:        string(f.ID),
		Kind:      factorKinds[f.Kind],
		Name:      f.Name,
		CreatedAt: timeOut(f.CreatedAt),
		SeenAt:    timeOut(f.SeenAt),
		Synced:    f.Kind == gestor.FactorPasskey && auth.Synced(f),
	}
}
