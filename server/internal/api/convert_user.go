package api

import (
	"context"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var userStatuses = map[string]gestorv1.UserStatus{
	gestor.StatusActive:   gestorv1.UserStatus_USER_STATUS_ACTIVE,
	gestor.StatusInactive: gestorv1.UserStatus_USER_STATUS_INACTIVE,
	gestor.StatusBlocked:  gestorv1.UserStatus_USER_STATUS_BLOCKED,
}

func userStatusIn(s gestorv1.UserStatus) string {
	for name, number := range userStatuses {
		if number == s {
			return name
		}
	}
	return ""
}

func (r reach) userOut(ctx context.Context, u gestor.User) *gestorv1.User {
	return &gestorv1.User{
		Id:              string(u.ID),
		Email:           u.Email,
		Name:            u.Name,
		Role:            roles[u.Role],
		Status:          userStatuses[u.Status],
		Operator:        u.Operator,
		Narrow:          r.narrowingOut(ctx, u.Narrow),
		CreatedAt:       timeOut(u.CreatedAt),
		EmailVerifiedAt: timeOut(u.EmailVerifiedAt),
		PasswordSetAt:   timeOut(u.PasswordSetAt),
	}
}

func (r reach) invitationOut(ctx context.Context, i gestor.Invitation) *gestorv1.Invitation {
	return &gestorv1.Invitation{
		Id:        string(i.ID),
		Email:     i.Email,
		Role:      roles[i.Role],
		Operator:  i.Operator,
		Narrow:    r.narrowingOut(ctx, i.Narrow),
		CreatedAt: timeOut(i.CreatedAt),
		ExpiresAt: timeOut(i.ExpiresAt),
		InvitedBy: i.Inviter,
		Mailed:    i.Mailed,
	}
}
