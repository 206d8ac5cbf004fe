package clitest

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type (
	users       struct{ *Server }
	invitations struct{ *Server }
	account     struct{ *Server }
)

// InviteSecret stands behind the # of every link of the server.
const InviteSecret = "gsi_clitest"

var soon = timestamppb.New(time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC))

func (h users) user(name string) (*gestorv1.User, error) {
	return find(h.state.Users, "user", name, func(u *gestorv1.User) bool { return u.GetEmail() == name || u.GetId() == name })
}

func (h users) ListUsers(context.Context, *gestorv1.ListUsersRequest) (*gestorv1.ListUsersResponse, error) {
	return &gestorv1.ListUsersResponse{Users: h.state.Users}, nil
}

func (h users) GetUser(_ context.Context, r *gestorv1.GetUserRequest) (*gestorv1.GetUserResponse, error) {
	u, err := h.user(r.GetUser())
	return &gestorv1.GetUserResponse{User: u}, err
}

func (h users) UpdateUser(_ context.Context, r *gestorv1.UpdateUserRequest) (*gestorv1.UpdateUserResponse, error) {
	u, err := h.user(r.GetUser())
	if err != nil {
		return nil, err
	}
	out := &gestorv1.User{Id: u.GetId(), Email: u.GetEmail(), Role: u.GetRole(), Status: u.GetStatus(), Operator: u.GetOperator(), Narrow: u.GetNarrow()}
	if r.Role != nil {
		out.Role = r.GetRole()
	}
	if r.Operator != nil {
		out.Operator = r.GetOperator()
	}
	if r.GetNarrow() != nil {
		out.Narrow = r.GetNarrow()
	}
	return &gestorv1.UpdateUserResponse{User: out}, nil
}

func (h users) DeleteUser(_ context.Context, r *gestorv1.DeleteUserRequest) (*gestorv1.DeleteUserResponse, error) {
	_, err := h.user(r.GetUser())
	return &gestorv1.DeleteUserResponse{}, err
}

func (h users) ResetPassword(_ context.Context, r *gestorv1.ResetPasswordRequest) (*gestorv1.ResetPasswordResponse, error) {
	_, err := h.user(r.GetUser())
	if !r.GetShowLink() {
		return &gestorv1.ResetPasswordResponse{Mailed: true, ExpiresAt: soon}, err
	}
	return &gestorv1.ResetPasswordResponse{Link: h.URL + "/reset#" + InviteSecret, ExpiresAt: soon}, err
}

func (h invitations) link(show bool) *gestorv1.InvitationLink {
	if !show {
		return &gestorv1.InvitationLink{}
	}
	return &gestorv1.InvitationLink{Link: h.URL + "/invite#" + InviteSecret}
}

func (h invitations) CreateInvitation(_ context.Context, r *gestorv1.CreateInvitationRequest) (*gestorv1.CreateInvitationResponse, error) {
	i := &gestorv1.Invitation{Id: "inv_new", Email: r.GetEmail(), Role: r.GetRole(), Operator: r.GetOperator(), Narrow: r.GetNarrow(), ExpiresAt: soon}
	return &gestorv1.CreateInvitationResponse{Invitation: i, Link: h.link(r.GetShowLink())}, nil
}

func (h invitations) InviteAdministrator(_ context.Context, r *gestorv1.InviteAdministratorRequest) (*gestorv1.InviteAdministratorResponse, error) {
	i := &gestorv1.Invitation{Id: "inv_new", Email: r.GetEmail(), Role: gestorv1.Role_ROLE_ADMIN, ExpiresAt: soon}
	return &gestorv1.InviteAdministratorResponse{Invitation: i, Link: h.link(r.GetShowLink())}, nil
}

func (h invitations) ListInvitations(context.Context, *gestorv1.ListInvitationsRequest) (*gestorv1.ListInvitationsResponse, error) {
	return &gestorv1.ListInvitationsResponse{Invitations: h.state.Invitations}, nil
}

func (h invitations) invitation(email string) (*gestorv1.Invitation, error) {
	return find(h.state.Invitations, "invitation", email, func(i *gestorv1.Invitation) bool { return i.GetEmail() == email })
}

func (h invitations) RevokeInvitation(_ context.Context, r *gestorv1.RevokeInvitationRequest) (*gestorv1.RevokeInvitationResponse, error) {
	_, err := h.invitation(r.GetInvitation())
	return &gestorv1.RevokeInvitationResponse{}, err
}

func (h invitations) ResendInvitation(_ context.Context, r *gestorv1.ResendInvitationRequest) (*gestorv1.ResendInvitationResponse, error) {
	i, err := h.invitation(r.GetInvitation())
	return &gestorv1.ResendInvitationResponse{Invitation: i, Link: &gestorv1.InvitationLink{
		Link: h.URL + "/invite#" + InviteSecret, Notice: "it could not be sent to " + i.GetEmail() + ": the mail server is away",
	}}, err
}

func goodSecret(secret string) error {
	if secret != InviteSecret {
		return fault.Unauthenticated("the link is not valid any more").WithFix("ask for a new one")
	}
	return nil
}

func (h invitations) AcceptInvitation(_ context.Context, r *gestorv1.AcceptInvitationRequest) (*gestorv1.AcceptInvitationResponse, error) {
	return &gestorv1.AcceptInvitationResponse{Email: "bia@example.com", TenantName: "Example"}, goodSecret(r.GetSecret())
}

func (h account) GetAccount(context.Context, *gestorv1.GetAccountRequest) (*gestorv1.GetAccountResponse, error) {
	u, err := users(h).user(Email)
	return &gestorv1.GetAccountResponse{User: u, MailConfigured: true}, err
}

func (h account) UpdateAccount(_ context.Context, r *gestorv1.UpdateAccountRequest) (*gestorv1.UpdateAccountResponse, error) {
	return &gestorv1.UpdateAccountResponse{User: &gestorv1.User{Email: Email, Name: r.GetName()}}, nil
}

func (h account) ChangePassword(_ context.Context, r *gestorv1.ChangePasswordRequest) (*gestorv1.ChangePasswordResponse, error) {
	if r.GetOldPassword() != Password {
		return nil, fault.Invalid("old_password", "it is not your password")
	}
	return &gestorv1.ChangePasswordResponse{}, nil
}

func (h account) RequestEmailVerification(context.Context, *gestorv1.RequestEmailVerificationRequest) (*gestorv1.RequestEmailVerificationResponse, error) {
	return &gestorv1.RequestEmailVerificationResponse{Email: Email, ExpiresAt: soon}, nil
}

func (h account) RequestEmailChange(_ context.Context, r *gestorv1.RequestEmailChangeRequest) (*gestorv1.RequestEmailChangeResponse, error) {
	return &gestorv1.RequestEmailChangeResponse{Email: r.GetEmail(), ExpiresAt: soon}, nil
}

func (h account) ConfirmEmail(_ context.Context, r *gestorv1.ConfirmEmailRequest) (*gestorv1.ConfirmEmailResponse, error) {
	return &gestorv1.ConfirmEmailResponse{Email: Email}, goodSecret(r.GetSecret())
}

func (h account) RequestPasswordReset(context.Context, *gestorv1.RequestPasswordResetRequest) (*gestorv1.RequestPasswordResetResponse, error) {
	return &gestorv1.RequestPasswordResetResponse{}, nil
}

func (h account) ConfirmPasswordReset(_ context.Context, r *gestorv1.ConfirmPasswordResetRequest) (*gestorv1.ConfirmPasswordResetResponse, error) {
	return &gestorv1.ConfirmPasswordResetResponse{Email: Email}, goodSecret(r.GetSecret())
}

// publicMethods need no token, besides those of setup.
func publicMethod(method string) bool {
	return slices.Contains([]string{"CreateSession", "CompleteSession", "AcceptInvitation", "ConfirmEmail", "RequestPasswordReset", "ConfirmPasswordReset"}, method)
}
