package api

import (
	"context"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// FactorDeps are what the service of second factors needs; all of it.
type FactorDeps struct {
	Engine   Engine
	Passkeys auth.Passkeys
	Sealer   auth.Sealer
	Now      func() time.Time
}

// FactorService keeps second factors.
type FactorService struct{ deps FactorDeps }

var _ gestorv1connect.FactorServiceHandler = (*FactorService)(nil)

// NewFactorService makes the service.
func NewFactorService(d FactorDeps) *FactorService { return &FactorService{deps: d} }

// own is the reach of the person who calls.
func (s *FactorService) own(ctx context.Context) (reach, error) {
	if _, err := personOf(ctx); err != nil {
		return reach{}, err
	}
	return reachOf(ctx, s.deps.Engine)
}

// ListFactors lists the caller's second factors.
func (s *FactorService) ListFactors(ctx context.Context, _ *gestorv1.ListFactorsRequest) (*gestorv1.ListFactorsResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	factors, err := r.view.FactorsByUser(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	codes, err := r.view.RecoveryCodes(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	tenant, err := r.view.Tenant(ctx, r.caller.Tenant)
	out := &gestorv1.ListFactorsResponse{RecoveryCodesLeft: int32(len(codes)), Required: tenant.SecondFactor}
	for _, f := range factors {
		out.Factors = append(out.Factors, factorOut(f))
	}
	return out, err
}

// begin seals what a person has begun to set up.
func (s *FactorService) begin(ctx context.Context, r reach, p auth.Pending) (string, error) {
	p.User, p.Session, p.Network, p.At = r.caller.User.ID, r.caller.Session.ID, networkOf(ctx), s.deps.Now()
	return auth.SealPending(s.deps.Sealer, p)
}

// begun opens it again. It was given to a session that had just proven who it is, and is good for that one alone.
func (s *FactorService) begun(ctx context.Context, r reach, purpose auth.Purpose, pending string) (auth.Pending, error) {
	p, err := auth.OpenPending(s.deps.Sealer, purpose, pending, networkOf(ctx), s.deps.Now())
	if err == nil && (p.User != r.caller.User.ID || p.Session != r.caller.Session.ID) {
		err = fault.Denied("this was begun by somebody else").WithFix("start again")
	}
	return p, err
}

// BeginTOTP makes the secret of an app.
func (s *FactorService) BeginTOTP(ctx context.Context, _ *gestorv1.BeginTOTPRequest) (*gestorv1.BeginTOTPResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	secret, uri, err := auth.NewTOTP(r.caller.User.Email)
	if err != nil {
		return nil, err
	}
	pending, err := s.begin(ctx, r, auth.Pending{Purpose: auth.PendingTOTP, TOTP: secret})
	return &gestorv1.BeginTOTPResponse{Pending: pending, Uri: uri, Secret: auth.Grouped(secret, " ")}, err
}

// ConfirmTOTP keeps the app that shows the right code.
func (s *FactorService) ConfirmTOTP(ctx context.Context, req *gestorv1.ConfirmTOTPRequest) (*gestorv1.ConfirmTOTPResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.begun(ctx, r, auth.PendingTOTP, req.GetPending())
	if err != nil {
		return nil, err
	}
	step, ok := auth.CheckTOTP(p.TOTP, req.GetCode(), s.deps.Now(), 0)
	if !ok {
		return nil, fault.Invalid("code", "the app should show another one now").
			WithFix("type the six digits that it shows; if they stay wrong, set the clock of the device")
	}
	f := gestor.Factor{
		UserID: p.User, Kind: gestor.FactorTOTP, Name: "Authenticator app", Step: step,
		Secret: s.deps.Sealer.Seal([]byte(p.TOTP), gestor.TOTPPlace(p.User)),
	}
	f, codes, err := s.add(ctx, r, req.GetRequestId(), f, p.Seed)
	if err != nil {
		return nil, err
	}
	return &gestorv1.ConfirmTOTPResponse{Factor: factorOut(f), RecoveryCodes: codes}, nil
}

// add keeps a second factor. With the first come recovery codes; a call that is repeated returns them again.
func (s *FactorService) add(ctx context.Context, r reach, requestID string, f gestor.Factor, seed []byte) (gestor.Factor, []string, error) {
	codes, hashes, err := auth.NewRecoveryCodes(seed)
	if err != nil {
		return f, nil, err
	}
	f.ID = gestor.NewID[gestor.FactorID]("fac")
	op := command.AddFactor{Factor: f}
	if !r.caller.User.HasFactor {
		op.Recovery = hashes
	}
	receipt, err := r.propose(ctx, requestID, op)
	if err != nil {
		return f, nil, err
	}
	if f, err = r.factor(ctx, receipt.Object); err != nil {
		return f, nil, err
	}
	kept, err := r.view.RecoveryCodes(ctx, f.UserID)
	if err != nil || !same(kept, hashes) {
		return f, nil, err
	}
	return f, codes, nil
}

// same reports whether the codes that are kept are those with the hashes.
func same(kept []gestor.RecoveryCode, hashes [][]byte) bool {
	for _, hash := range hashes {
		if !slices.ContainsFunc(kept, func(r gestor.RecoveryCode) bool { return slices.Equal(r.Hash, hash) }) {
			return false
		}
	}
	return len(kept) == len(hashes)
}

// BeginPasskey asks the browser for a new passkey.
func (s *FactorService) BeginPasskey(ctx context.Context, _ *gestorv1.BeginPasskeyRequest) (*gestorv1.BeginPasskeyResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	factors, err := r.view.FactorsByUser(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	options, asked, err := s.deps.Passkeys.Register(r.caller.User, factors)
	if err != nil {
		return nil, err
	}
	pending, err := s.begin(ctx, r, auth.Pending{Purpose: auth.PendingPasskey, Passkey: asked})
	return &gestorv1.BeginPasskeyResponse{Pending: pending, Options: options}, err
}

// ConfirmPasskey keeps the passkey that the browser made.
func (s *FactorService) ConfirmPasskey(ctx context.Context, req *gestorv1.ConfirmPasskeyRequest) (*gestorv1.ConfirmPasskeyResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.begun(ctx, r, auth.PendingPasskey, req.GetPending())
	if err != nil {
		return nil, err
	}
	name := "Passkey"
	if req.GetName() != "" {
		if name, err = gestor.CheckTitle("name", req.GetName()); err != nil {
			return nil, err
		}
	}
	f, err := s.deps.Passkeys.Registered(r.caller.User, p.Passkey, req.GetCredential())
	if err != nil {
		return nil, err
	}
	f.Name = name
	f, codes, err := s.add(ctx, r, req.GetRequestId(), f, p.Seed)
	if err != nil {
		return nil, err
	}
	return &gestorv1.ConfirmPasskeyResponse{Factor: factorOut(f), RecoveryCodes: codes}, nil
}

// factor finds a second factor of the caller.
func (r reach) factor(ctx context.Context, ref string) (gestor.Factor, error) {
	f, err := r.view.Factor(ctx, gestor.FactorID(ref))
	if err == nil && f.UserID != r.caller.User.ID {
		err = fault.KindNotFound
	}
	return f, absent(err, "second factor", ref)
}

// RenameFactor gives a second factor another name.
func (s *FactorService) RenameFactor(ctx context.Context, req *gestorv1.RenameFactorRequest) (*gestorv1.RenameFactorResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	f, err := r.factor(ctx, req.GetFactorId())
	if err != nil {
		return nil, err
	}
	if f.Name, err = gestor.CheckTitle("name", req.GetName()); err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.RenameFactor{ID: f.ID, Name: f.Name})
	return &gestorv1.RenameFactorResponse{Factor: factorOut(f)}, err
}

// RemoveFactor removes a second factor.
func (s *FactorService) RemoveFactor(ctx context.Context, req *gestorv1.RemoveFactorRequest) (*gestorv1.RemoveFactorResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	f, err := r.factor(ctx, req.GetFactorId())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.RemoveFactor{ID: f.ID})
	return &gestorv1.RemoveFactorResponse{}, err
}

// CreateRecoveryCodes makes new recovery codes.
func (s *FactorService) CreateRecoveryCodes(ctx context.Context, _ *gestorv1.CreateRecoveryCodesRequest) (*gestorv1.CreateRecoveryCodesResponse, error) {
	r, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	codes, hashes, err := auth.NewRecoveryCodes(nil)
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, "", command.SetRecoveryCodes{UserID: r.caller.User.ID, Hashes: hashes})
	if err != nil {
		return nil, err
	}
	return &gestorv1.CreateRecoveryCodesResponse{RecoveryCodes: codes}, nil
}

// ResetFactors removes all second factors of a person.
func (s *FactorService) ResetFactors(ctx context.Context, req *gestorv1.ResetFactorsRequest) (*gestorv1.ResetFactorsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	user, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.ResetFactors{UserID: user.ID})
	return &gestorv1.ResetFactorsResponse{}, err
}
