package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// UserDeps are what the user service needs; all of it.
type UserDeps struct {
	Engine Engine
	Links  Links
	Mail   mail.Sender
	Now    func() time.Time
}

// UserService keeps the people of a tenant.
type UserService struct {
	deps  UserDeps
	mails *limit.Rates
}

var _ gestorv1connect.UserServiceHandler = (*UserService)(nil)

// NewUserService makes the service.
func NewUserService(d UserDeps) *UserService { return &UserService{deps: d, mails: posting(d.Now)} }

// ListUsers lists the tenant's people by address.
func (s *UserService) ListUsers(ctx context.Context, req *gestorv1.ListUsersRequest) (*gestorv1.ListUsersResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	users, next, err := r.view.Users(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := make([]*gestorv1.User, len(users))
	for i, u := range users {
		out[i] = r.userOut(ctx, u)
	}
	return &gestorv1.ListUsersResponse{Users: out, Page: pageOut(next)}, nil
}

// user finds a person of the tenant by id or address. Addresses hold an @ and ids never do.
func (r reach) user(ctx context.Context, ref string) (gestor.User, error) {
	if !strings.Contains(ref, "@") {
		u, err := r.view.User(ctx, gestor.UserID(ref))
		return u, absent(err, "user", ref)
	}
	u, err := r.view.UserByEmail(ctx, gestor.FoldEmail(ref))
	return u, absent(err, "user", ref)
}

// GetUser returns one person.
func (s *UserService) GetUser(ctx context.Context, req *gestorv1.GetUserRequest) (*gestorv1.GetUserResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	u, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetUserResponse{User: r.userOut(ctx, u)}, nil
}

// UpdateUser changes what a person may do.
func (s *UserService) UpdateUser(ctx context.Context, req *gestorv1.UpdateUserRequest) (*gestorv1.UpdateUserResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	u, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	op, err := r.updateUserIn(ctx, u.ID, req)
	if err != nil {
		return nil, err
	}
	after := op.Apply(u)
	if err := r.mayGrant(after.Role, after.Operator); err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	u, err = r.user(ctx, string(u.ID))
	if err != nil {
		return nil, err
	}
	return &gestorv1.UpdateUserResponse{User: r.userOut(ctx, u)}, nil
}

func (r reach) updateUserIn(ctx context.Context, id gestor.UserID, req *gestorv1.UpdateUserRequest) (command.UpdateUser, error) {
	op := command.UpdateUser{ID: id, Operator: req.Operator}
	if req.Role != nil {
		role := roleIn(req.GetRole())
		op.Role = &role
	}
	if req.Status != nil {
		status := userStatusIn(req.GetStatus())
		op.Status = &status
	}
	if req.GetNarrow() != nil {
		narrow, err := r.narrowingIn(ctx, "narrow", req.GetNarrow())
		if err != nil {
			return op, err
		}
		op.Narrow = &narrow
	}
	if req.Name != nil {
		name, err := nameIn(req.GetName())
		if err != nil {
			return op, err
		}
		op.Name = &name
	}
	return op, nil
}

// nameIn checks a person's name, which may be left out.
func nameIn(name string) (string, error) {
	if strings.TrimSpace(name) == "" {
		return "", nil
	}
	return gestor.CheckTitle("name", name)
}

// mayGrant refuses a token that would make somebody who may do more than it does. Roles, operators and narrowings are
// compared by the state machine; the permissions of a token never change, so it is enough to look at them here.
func (r reach) mayGrant(role gestor.Role, operator bool) error {
	if r.caller.Kind != auth.Machine {
		return nil
	}
	held := r.caller.Permissions()
	for _, p := range auth.Permissions(role, operator) {
		if !slices.Contains(held, p) {
			return fault.Denied("nobody gives more than they have: the token %s is not for %s, which the role %s holds", r.caller.Token.Name, auth.Name(p), role).
				WithFix("sign in with `gestor login` and do it yourself")
		}
	}
	return nil
}

// DeleteUser removes a person.
func (s *UserService) DeleteUser(ctx context.Context, req *gestorv1.DeleteUserRequest) (*gestorv1.DeleteUserResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	u, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteUser{ID: u.ID})
	return &gestorv1.DeleteUserResponse{}, err
}

// ResetPassword makes a link for a new password. The one before is worth nothing from then on.
func (s *UserService) ResetPassword(ctx context.Context, req *gestorv1.ResetPasswordRequest) (*gestorv1.ResetPasswordResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	u, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	if err := r.mayGrant(u.Role, u.Operator); err != nil {
		return nil, err
	}
	if s.deps.Mail.Configured() && !req.GetShowLink() {
		if err := mayPost(s.mails, r.caller.Tenant); err != nil {
			return nil, err
		}
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.ResetUserPassword{ID: u.ID}); err != nil {
		return nil, err
	}
	if u, err = r.user(ctx, string(u.ID)); err != nil {
		return nil, err
	}
	l := link{Purpose: linkReset, User: u.ID, Stamp: u.Stamp(), Ends: s.deps.Now().Add(adminResetLinkTTL)}
	return s.deliver(ctx, u, l, req.GetShowLink())
}

// deliver sends a link for a new password, or shows it. What was sent and what is shown are two links: only one of them
// proves the address.
func (s *UserService) deliver(ctx context.Context, u gestor.User, l link, show bool) (*gestorv1.ResetPasswordResponse, error) {
	res := &gestorv1.ResetPasswordResponse{ExpiresAt: timeOut(l.Ends)}
	if s.deps.Mail.Configured() && !show {
		mailed := l
		mailed.Email = u.Email
		address, err := s.deps.Links.seal(mailed)
		if err != nil {
			return nil, err
		}
		if err = send(ctx, s.deps.Mail, resetMail(u, address, l.Ends)); err == nil {
			res.Mailed = true
			return res, nil
		}
		res.Notice = notSent(u.Email, err)
	}
	address, err := s.deps.Links.seal(l)
	res.Link = address
	return res, err
}

// notSent tells who waits why a link is shown that was to be sent.
func notSent(email string, err error) string {
	return "it could not be sent to " + email + ": " + err.Error()
}
