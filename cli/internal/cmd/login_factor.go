package cmd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const (
	byApp      = gestorv1.FactorKind_FACTOR_KIND_TOTP
	byRecovery = gestorv1.FactorKind_FACTOR_KIND_RECOVERY_CODE
)

// attempts is how often a code is asked for before the password is wanted again.
const attempts = 3

// secondStep signs in with a second factor after the password was right.
func (r *run) secondStep(ctx context.Context, asked *gestorv1.SecondFactor, given string) (*gestorv1.Session, string, error) {
	for n := 1; ; n++ {
		code, err := r.code(asked.GetMethods(), given)
		if err != nil {
			return nil, "", err
		}
		req := &gestorv1.CompleteSessionRequest{Pending: asked.GetPending()}
		if isAppCode(code) {
			req.Proof = &gestorv1.CompleteSessionRequest_TotpCode{TotpCode: code}
		} else {
			req.Proof = &gestorv1.CompleteSessionRequest_RecoveryCode{RecoveryCode: code}
		}
		res, err := r.conn.Sessions().CompleteSession(ctx, req)
		if errors.Is(err, fault.KindUnauthenticated) && given == "" && n < attempts {
			r.out.Notef("%s", fault.Wrap(err, "not signed in"))
			continue
		}
		if err == nil && res.RecoveryCodesLeft != nil {
			r.out.Notef("%d recovery codes are left; make new ones with: gestor account recovery-codes", res.GetRecoveryCodesLeft())
		}
		return res.GetSession(), res.GetToken(), err
	}
}

// code is the code of an app or a recovery code: the one given, or what a person types.
func (r *run) code(methods []gestorv1.FactorKind, given string) (string, error) {
	app, recovery := slices.Contains(methods, byApp), slices.Contains(methods, byRecovery)
	switch {
	case given != "":
		return given, nil
	case !r.env.InTerminal || r.out.JSON:
		return "", fault.Invalid("code", "your second factor is needed and nobody is there to ask").
			WithFix("add --code, or use a token: gestor tokens create")
	case app:
		return r.ask("Code of your app, or a recovery code:")
	case recovery:
		r.out.Notef("your passkey works in a browser: gestor login --browser")
		return r.ask("Or a recovery code:")
	}
	return "", fault.Denied("your second factor is a passkey, which works in a browser").WithFix("sign in with: gestor login --browser")
}

// isAppCode tells the six digits of an app from a recovery code.
func isAppCode(code string) bool {
	digits := strings.ReplaceAll(code, " ", "")
	return len(digits) == 6 && strings.Trim(digits, "0123456789") == ""
}

// loginAgain proves once more who is signed in.
func (r *run) loginAgain(ctx context.Context, o loginOptions) error {
	conn, err := r.client()
	if err != nil {
		return err
	}
	if err := r.reauthenticate(ctx, conn, o); err != nil {
		return cause(ctx, err)
	}
	return r.done("context", r.name, "you have proved who you are; that is good for five minutes")
}

// proveAgain is called when the server wants a recent proof of who calls. Without a terminal nobody can give one.
func (r *run) proveAgain(ctx context.Context, conn *client.Client, refusal error) error {
	if !r.env.InTerminal || r.out.JSON {
		return fault.Denied("this needs you to prove again who you are, and nobody is there to ask").
			WithFix("run before it: gestor login --again; a program needs a token that names the permission: gestor tokens create").
			WithReason(fault.ReasonStepUp).WithCause(refusal)
	}
	r.out.Notef("this needs you to prove again who you are")
	return r.reauthenticate(ctx, conn, loginOptions{})
}

// reauthenticate asks for the password, and for a code where there is a second factor.
func (r *run) reauthenticate(ctx context.Context, conn *client.Client, o loginOptions) error {
	sessions := conn.Sessions()
	has, err := sessions.BeginReauthentication(ctx, &gestorv1.BeginReauthenticationRequest{})
	if err != nil {
		return err
	}
	if !has.GetPassword() {
		return fault.Denied("you have no password here").WithFix("sign in anew: gestor login --browser")
	}
	req := &gestorv1.ReauthenticateSessionRequest{}
	if req.Password, err = r.secret("Your password", "--password-stdin", o.passwordStdin); err != nil {
		return err
	}
	if len(has.GetMethods()) > 0 {
		code, err := r.code(has.GetMethods(), o.code)
		if err != nil {
			return err
		}
		if isAppCode(code) {
			req.Proof = &gestorv1.ReauthenticateSessionRequest_TotpCode{TotpCode: code}
		} else {
			req.Proof = &gestorv1.ReauthenticateSessionRequest_RecoveryCode{RecoveryCode: code}
		}
	}
	_, err = sessions.ReauthenticateSession(ctx, req)
	return err
}
