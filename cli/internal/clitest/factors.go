package clitest

import (
	"context"
	"slices"
	"time"

	"github.com/pquerna/otp/totp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// The second factors of the one user. An app with Secret shows the codes of Time, each of which works once.
const (
	AppSecret    = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	RecoveryCode = "aaaa-bbbb-cccc-dddd"
	pending      = "pending_clitest"
)

// Time is when everything happens.
func Time() time.Time { return time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC) }

type factors struct{ *Server }

// kinds are the second factors of the script.
func (s *Server) kinds() []gestorv1.FactorKind {
	var out []gestorv1.FactorKind
	for _, name := range s.state.SecondFactor {
		out = append(out, gestorv1.FactorKind(gestorv1.FactorKind_value["FACTOR_KIND_"+name]))
	}
	return out
}

// stale refuses what needs a recent proof until one was given. The caller holds the lock.
func (s *Server) stale(method string) error {
	if s.proved || !slices.Contains(s.state.StepUp, method) {
		return nil
	}
	return fault.Denied("this needs you to have signed in within the last 5 minutes").WithReason(fault.ReasonStepUp)
}

// check takes a code of the app near Time, or the recovery code, once.
func (s *Server) check(app, recovery string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := recovery == RecoveryCode
	for steps := -1; steps <= 1 && !ok; steps++ {
		want, err := totp.GenerateCode(AppSecret, Time().Add(time.Duration(steps)*30*time.Second))
		ok = err == nil && app == want
	}
	if !ok || slices.Contains(s.used, app+recovery) {
		return fault.Unauthenticated("the code or passkey is wrong, or has been used already").WithFix("try again with a new one")
	}
	s.used = append(s.used, app+recovery)
	return nil
}

func (h sessions) ask() *gestorv1.CreateSessionResponse {
	return &gestorv1.CreateSessionResponse{SecondFactor: &gestorv1.SecondFactor{Pending: pending, Methods: h.kinds()}}
}

func (h sessions) CompleteSession(_ context.Context, r *gestorv1.CompleteSessionRequest) (*gestorv1.CompleteSessionResponse, error) {
	if r.GetPending() != pending {
		return nil, fault.Unauthenticated("this took too long, or was begun elsewhere")
	}
	if err := h.check(r.GetTotpCode(), r.GetRecoveryCode()); err != nil {
		return nil, err
	}
	out := &gestorv1.CompleteSessionResponse{Session: session(), Token: Token}
	if r.GetRecoveryCode() != "" {
		out.RecoveryCodesLeft = new(int32(9))
	}
	return out, nil
}

func (h sessions) BeginReauthentication(context.Context, *gestorv1.BeginReauthenticationRequest) (*gestorv1.BeginReauthenticationResponse, error) {
	return &gestorv1.BeginReauthenticationResponse{Password: true, Methods: h.kinds()}, nil
}

func (h sessions) ReauthenticateSession(_ context.Context, r *gestorv1.ReauthenticateSessionRequest) (*gestorv1.ReauthenticateSessionResponse, error) {
	if r.GetPassword() != Password {
		return nil, fault.Denied("the password is wrong")
	}
	if len(h.state.SecondFactor) > 0 {
		if err := h.check(r.GetTotpCode(), r.GetRecoveryCode()); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proved = true
	return &gestorv1.ReauthenticateSessionResponse{Session: session()}, nil
}

// placesOf are two sessions, the second hostile.
func placesOf() []*gestorv1.Session {
	at := timestamppb.New(Time().Add(-time.Hour))
	one, two := session(), session()
	one.CreatedAt, one.SeenAt, one.SeenFrom, one.UserAgent, one.SecondFactor, one.Current = at, at, "192.0.2.7", "gestor-cli/1.2.3", true, true
	two.Id, two.CreatedAt, two.SeenAt, two.Address, two.UserAgent = "ses_2", at, at, "198.51.100.9", "evil\x1b[2Jbrowser"
	return []*gestorv1.Session{one, two}
}

func (h sessions) ListSessions(context.Context, *gestorv1.ListSessionsRequest) (*gestorv1.ListSessionsResponse, error) {
	return &gestorv1.ListSessionsResponse{Sessions: placesOf()}, nil
}

func (h sessions) RevokeSession(context.Context, *gestorv1.RevokeSessionRequest) (*gestorv1.RevokeSessionResponse, error) {
	return &gestorv1.RevokeSessionResponse{}, nil
}

func (h sessions) RevokeOtherSessions(context.Context, *gestorv1.RevokeOtherSessionsRequest) (*gestorv1.RevokeOtherSessionsResponse, error) {
	return &gestorv1.RevokeOtherSessionsResponse{}, nil
}

func (h sessions) ListUserSessions(context.Context, *gestorv1.ListUserSessionsRequest) (*gestorv1.ListUserSessionsResponse, error) {
	return &gestorv1.ListUserSessionsResponse{Sessions: placesOf()[1:]}, nil
}

func (h sessions) RevokeUserSessions(context.Context, *gestorv1.RevokeUserSessionsRequest) (*gestorv1.RevokeUserSessionsResponse, error) {
	return &gestorv1.RevokeUserSessionsResponse{}, nil
}

func (h factors) all() []*gestorv1.Factor {
	var out []*gestorv1.Factor
	for _, kind := range h.kinds() {
		id := map[gestorv1.FactorKind]string{gestorv1.FactorKind_FACTOR_KIND_TOTP: "fac_app", gestorv1.FactorKind_FACTOR_KIND_PASSKEY: "fac_key"}[kind]
		if id != "" {
			out = append(out, &gestorv1.Factor{Id: id, Kind: kind, Name: "Laptop", CreatedAt: timestamppb.New(Time().Add(-time.Hour)), Synced: true})
		}
	}
	return out
}

func (h factors) ListFactors(context.Context, *gestorv1.ListFactorsRequest) (*gestorv1.ListFactorsResponse, error) {
	return &gestorv1.ListFactorsResponse{Factors: h.all(), RecoveryCodesLeft: 7}, nil
}

func (h factors) BeginTOTP(context.Context, *gestorv1.BeginTOTPRequest) (*gestorv1.BeginTOTPResponse, error) {
	return &gestorv1.BeginTOTPResponse{
		Pending: pending, Secret: "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP", Uri: "otpauth://totp/Gestor:" + Email + "?issuer=Gestor&secret=" + AppSecret,
	}, nil
}

func (h factors) ConfirmTOTP(_ context.Context, r *gestorv1.ConfirmTOTPRequest) (*gestorv1.ConfirmTOTPResponse, error) {
	if err := h.check(r.GetCode(), ""); err != nil || r.GetPending() != pending {
		return nil, fault.Invalid("code", "the app should show another one now").WithFix("type the six digits that it shows")
	}
	return &gestorv1.ConfirmTOTPResponse{Factor: &gestorv1.Factor{Id: "fac_app"}, RecoveryCodes: []string{RecoveryCode}}, nil
}

func (h factors) BeginPasskey(context.Context, *gestorv1.BeginPasskeyRequest) (*gestorv1.BeginPasskeyResponse, error) {
	return nil, fault.Conflict("passkeys are made in a browser")
}

func (h factors) ConfirmPasskey(context.Context, *gestorv1.ConfirmPasskeyRequest) (*gestorv1.ConfirmPasskeyResponse, error) {
	return nil, fault.Conflict("passkeys are made in a browser")
}

func (h factors) RenameFactor(_ context.Context, r *gestorv1.RenameFactorRequest) (*gestorv1.RenameFactorResponse, error) {
	return &gestorv1.RenameFactorResponse{Factor: &gestorv1.Factor{Id: r.GetFactorId(), Name: r.GetName()}}, nil
}

func (h factors) RemoveFactor(_ context.Context, r *gestorv1.RemoveFactorRequest) (*gestorv1.RemoveFactorResponse, error) {
	_, err := find(h.all(), "second factor", r.GetFactorId(), func(f *gestorv1.Factor) bool { return f.GetId() == r.GetFactorId() })
	return &gestorv1.RemoveFactorResponse{}, err
}

func (h factors) CreateRecoveryCodes(context.Context, *gestorv1.CreateRecoveryCodesRequest) (*gestorv1.CreateRecoveryCodesResponse, error) {
	return &gestorv1.CreateRecoveryCodesResponse{RecoveryCodes: []string{RecoveryCode}}, nil
}

func (h factors) ResetFactors(context.Context, *gestorv1.ResetFactorsRequest) (*gestorv1.ResetFactorsResponse, error) {
	return &gestorv1.ResetFactorsResponse{}, nil
}

func (h sessions) BeginPasskeySession(context.Context, *gestorv1.BeginPasskeySessionRequest) (*gestorv1.BeginPasskeySessionResponse, error) {
	return nil, fault.Conflict("passkeys work in a browser")
}
