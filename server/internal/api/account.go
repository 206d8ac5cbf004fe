package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// AccountDeps are what the account service needs; all of it.
type AccountDeps struct {
	Engine    Engine
	Links     Links
	Mail      mail.Sender
	Errands   *Errands
	Passwords *auth.Passwords
	Accounts  *auth.Throttle // by address: guesses at the present password, and mail that is asked for
	Networks  *auth.Throttle // by network
	Now       func() time.Time
	Log       *slog.Logger
}

// AccountService is about the caller's own account.
type AccountService struct{ deps AccountDeps }

var _ gestorv1connect.AccountServiceHandler = (*AccountService)(nil)

// NewAccountService makes the service.
func NewAccountService(d AccountDeps) *AccountService { return &AccountService{deps: d} }

// own is the caller's reach and the caller as the state has them now.
func (s *AccountService) own(ctx context.Context) (reach, gestor.User, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return r, gestor.User{}, err
	}
	if r.caller.User.ID == "" {
		return r, gestor.User{}, fault.Denied("a token of the tenant has no account").WithFix("sign in with `gestor login`")
	}
	u, err := r.view.User(ctx, r.caller.User.ID)
	return r, u, err
}

// GetAccount returns the caller's account.
func (s *AccountService) GetAccount(ctx context.Context, _ *gestorv1.GetAccountRequest) (*gestorv1.GetAccountResponse, error) {
	r, u, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetAccountResponse{User: r.userOut(ctx, u), MailConfigured: s.deps.Mail.Configured()}, nil
}

// UpdateAccount changes the caller's name.
func (s *AccountService) UpdateAccount(ctx context.Context, req *gestorv1.UpdateAccountRequest) (*gestorv1.UpdateAccountResponse, error) {
	r, u, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	name, err := nameIn(req.GetName())
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.UpdateUser{ID: u.ID, Name: &name}); err != nil {
		return nil, err
	}
	if u, err = r.view.User(ctx, u.ID); err != nil {
		return nil, err
	}
	return &gestorv1.UpdateAccountResponse{User: r.userOut(ctx, u)}, nil
}

// ChangePassword replaces the caller's password. Guesses at the present one are slowed down: a session may be stolen.
func (s *AccountService) ChangePassword(ctx context.Context, req *gestorv1.ChangePasswordRequest) (*gestorv1.ChangePasswordResponse, error) {
	r, u, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	key := "password " + u.Email
	if wait := s.deps.Accounts.Take(key); wait > 0 {
		return nil, tooMany(wait)
	}
	ok, err := s.deps.Passwords.Verify(ctx, u.PasswordHash, req.GetOldPassword())
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.Invalid("old_password", "it is not your password")
	}
	s.deps.Accounts.Succeeded(key)
	if auth.NormalPassword(req.GetOldPassword()) == auth.NormalPassword(req.GetNewPassword()) {
		return nil, fault.Invalid("new_password", "it is the present one")
	}
	phc, err := s.hash(ctx, "new_password", req.GetNewPassword(), u.Email)
	if err != nil {
		return nil, err
	}
	op := command.SetPassword{UserID: u.ID, PasswordHash: phc, Stamp: u.Stamp(), KeepSession: r.caller.Session.ID}
	if _, err := r.propose(ctx, "", op); err != nil {
		return nil, err
	}
	s.tell(passwordChangedMail(u, s.deps.Now()))
	return &gestorv1.ChangePasswordResponse{}, nil
}

func (s *AccountService) hash(ctx context.Context, field, password, email string) (string, error) {
	if err := auth.CheckPassword(field, password, email); err != nil {
		return "", err
	}
	return s.deps.Passwords.Hash(ctx, password)
}

// tell sends a message that nobody waits for, if this installation sends e-mail.
func (s *AccountService) tell(m mail.Message) {
	if s.deps.Mail.Configured() {
		s.deps.Errands.post("mail", func(ctx context.Context) error { return s.deps.Mail.Send(ctx, m) })
	}
}

// RequestEmailVerification sends a link to the caller's address.
func (s *AccountService) RequestEmailVerification(
	ctx context.Context, _ *gestorv1.RequestEmailVerificationRequest,
) (*gestorv1.RequestEmailVerificationResponse, error) {
	_, u, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	if !u.EmailVerifiedAt.IsZero() {
		return nil, fault.Conflict("%s is confirmed already", u.Email)
	}
	if wait := s.deps.Accounts.Take("mail " + u.Email); wait > 0 {
		return nil, tooMuchMail(wait)
	}
	ends := s.deps.Now().Add(emailLinkTTL)
	address, err := s.deps.Links.seal(link{Purpose: linkEmail, User: u.ID, Stamp: u.Stamp(), Email: u.Email, Ends: ends})
	if err != nil {
		return nil, err
	}
	if err := send(ctx, s.deps.Mail, verificationMail(u.Email, address, ends)); err != nil {
		return nil, err
	}
	return &gestorv1.RequestEmailVerificationResponse{Email: u.Email, ExpiresAt: timeOut(ends)}, nil
}

func tooMuchMail(wait time.Duration) error {
	return fault.Exhausted("mail was asked for too often").WithRetryAfter(wait).WithFix("wait %s and look into the mailbox meanwhile", wait.Round(time.Second))
}

// RequestEmailChange sends a link to another address. Nobody waits for it: the answer must not tell whether somebody has
// that address.
func (s *AccountService) RequestEmailChange(ctx context.Context, req *gestorv1.RequestEmailChangeRequest) (*gestorv1.RequestEmailChangeResponse, error) {
	_, u, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	email, err := gestor.CheckEmail("email", req.GetEmail())
	if err != nil {
		return nil, err
	}
	switch {
	case email == u.Email:
		return nil, fault.Invalid("email", "it is your address already")
	case !s.deps.Mail.Configured():
		return nil, fault.Conflict("this installation sends no e-mail, so nobody can confirm an address").WithFix("configure [mail] on the control servers")
	}
	if wait := s.deps.Accounts.Take("mail " + u.Email); wait > 0 {
		return nil, tooMuchMail(wait)
	}
	ends := s.deps.Now().Add(emailLinkTTL)
	address, err := s.deps.Links.seal(link{Purpose: linkEmail, User: u.ID, Stamp: u.Stamp(), Email: email, Ends: ends})
	if err != nil {
		return nil, err
	}
	s.deps.Errands.post("confirm address", func(ctx context.Context) error {
		_, err := s.deps.Engine.View(gestor.SystemScope()).UserByEmail(ctx, email)
		if !errors.Is(err, fault.KindNotFound) {
			return err // somebody has it: there is nothing to confirm
		}
		return s.deps.Mail.Send(ctx, verificationMail(email, address, ends))
	})
	return &gestorv1.RequestEmailChangeResponse{Email: email, ExpiresAt: timeOut(ends)}, nil
}

// follow opens a link for whoever has it, and slows down who guesses.
func (s *AccountService) follow(ctx context.Context, secret string, purpose linkPurpose) (link, gestor.User, error) {
	network := auth.Network(requestOf(ctx).address)
	if wait := s.deps.Networks.Take(network); wait > 0 {
		return link{}, gestor.User{}, tooMany(wait)
	}
	l, err := s.deps.Links.open(secret, purpose, s.deps.Now())
	if err != nil {
		return l, gestor.User{}, err
	}
	u, err := s.deps.Engine.View(gestor.SystemScope()).User(ctx, l.User)
	if errors.Is(err, fault.KindNotFound) || err == nil && string(u.Stamp()) != string(l.Stamp) {
		return l, u, badLink()
	}
	if err == nil {
		s.deps.Networks.Undo(network)
	}
	return l, u, err
}

// propose proposes what somebody does who followed a link.
func (s *AccountService) propose(ctx context.Context, op command.Op) error {
	caller, _ := auth.CallerFrom(ctx)
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: caller.Actor, Op: op})
	if err != nil {
		return err
	}
	return s.deps.Engine.Wait(ctx, receipt.Revision)
}

// ConfirmEmail uses a link that was sent to an address.
func (s *AccountService) ConfirmEmail(ctx context.Context, req *gestorv1.ConfirmEmailRequest) (*gestorv1.ConfirmEmailResponse, error) {
	l, u, err := s.follow(ctx, req.GetSecret(), linkEmail)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, command.ConfirmEmail{UserID: u.ID, Email: l.Email, Stamp: l.Stamp}); err != nil {
		return nil, err
	}
	if l.Email != u.Email {
		s.tell(emailChangedMail(u, l.Email, s.deps.Now()))
	}
	return &gestorv1.ConfirmEmailResponse{Email: l.Email}, nil
}

// RequestPasswordReset asks for a link. Whether anybody has the address is found out by nobody but the errand, so the answer
// and its time are the same for all.
func (s *AccountService) RequestPasswordReset(
	ctx context.Context, req *gestorv1.RequestPasswordResetRequest,
) (*gestorv1.RequestPasswordResetResponse, error) {
	email := gestor.FoldEmail(req.GetEmail())
	if wait := s.deps.Networks.Take(auth.Network(requestOf(ctx).address)); wait > 0 {
		return nil, tooMany(wait)
	}
	if wait := s.deps.Accounts.Take("reset " + email); wait > 0 {
		return nil, tooMuchMail(wait)
	}
	s.deps.Errands.post("reset password", func(ctx context.Context) error { return s.sendReset(ctx, email) })
	return &gestorv1.RequestPasswordResetResponse{}, nil
}

// sendReset sends a link for a new password to an active user.
func (s *AccountService) sendReset(ctx context.Context, email string) error {
	if !s.deps.Mail.Configured() {
		return nil
	}
	u, err := s.deps.Engine.View(gestor.SystemScope()).UserByEmail(ctx, email)
	if errors.Is(err, fault.KindNotFound) || err == nil && u.Status != gestor.StatusActive {
		return nil
	}
	if err != nil {
		return err
	}
	ends := s.deps.Now().Add(resetLinkTTL)
	address, err := s.deps.Links.seal(link{Purpose: linkReset, User: u.ID, Stamp: u.Stamp(), Email: u.Email, Ends: ends})
	if err != nil {
		return err
	}
	return s.deps.Mail.Send(ctx, resetMail(u, address, ends))
}

// ConfirmPasswordReset uses a link for a new password. It signs nobody in.
func (s *AccountService) ConfirmPasswordReset(
	ctx context.Context, req *gestorv1.ConfirmPasswordResetRequest,
) (*gestorv1.ConfirmPasswordResetResponse, error) {
	l, u, err := s.follow(ctx, req.GetSecret(), linkReset)
	if err != nil {
		return nil, err
	}
	phc, err := s.hash(ctx, "password", req.GetPassword(), u.Email)
	if err != nil {
		return nil, err
	}
	op := command.SetPassword{UserID: u.ID, PasswordHash: phc, Stamp: l.Stamp, Mailed: l.Email != "" && l.Email == u.Email}
	if err := s.propose(ctx, op); err != nil {
		return nil, err
	}
	s.deps.Log.Info("password reset", "user", u.ID, "address", requestOf(ctx).address)
	s.tell(passwordChangedMail(u, s.deps.Now()))
	return &gestorv1.ConfirmPasswordResetResponse{Email: u.Email}, nil
}
