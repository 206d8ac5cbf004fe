package api

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// loginRequestTTL is how long a request of a terminal may wait for its approval.
const loginRequestTTL = 10 * time.Minute

// loginPlace is what sealed requests are bound to.
const loginPlace = "login request"

// Vault seals what is put into clients' hands for a while, and opens it again.
type Vault interface {
	Seal(plaintext []byte, aad string) []byte
	Open(sealed []byte, aad string) ([]byte, error)
}

// LoginDeps are what the login service needs.
type LoginDeps struct {
	Engine    Engine
	Vault     Vault
	PublicURL string           // under which browsers reach this installation
	Now       func() time.Time // time.Now if nil
}

// LoginService signs terminals in from a browser.
type LoginService struct{ deps LoginDeps }

var _ gestorv1connect.LoginServiceHandler = (*LoginService)(nil)

// NewLoginService makes the service.
func NewLoginService(d LoginDeps) *LoginService {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &LoginService{deps: d}
}

// loginRequest is what a terminal asks for. It lives in the terminal's hands, sealed.
type loginRequest struct {
	Hash     []byte    `json:"hash"` // SHA-256 of the secret of the session
	Computer string    `json:"computer"`
	Address  string    `json:"address"` // that asked
	At       time.Time `json:"at"`
}

// code is what the terminal and the page show. It is made of the hash, so that a page for another secret shows another.
func (l loginRequest) code() string {
	sum := sha256.Sum256(append([]byte("code of login "), l.Hash...))
	text := base32.NewEncoding("ABCDEFGHJKLMNPQRSTUVWXYZ23456789").WithPadding(base32.NoPadding).EncodeToString(sum[:5])
	return text[:4] + "-" + text[4:]
}

// BeginLogin seals a request. Nothing of it is kept here.
func (s *LoginService) BeginLogin(ctx context.Context, req *gestorv1.BeginLoginRequest) (*gestorv1.BeginLoginResponse, error) {
	computer, err := gestor.CheckTitle("computer", req.GetComputer())
	if err != nil {
		return nil, err
	}
	l := loginRequest{Hash: req.GetSecretHash(), Computer: computer, Address: requestOf(ctx).address, At: s.deps.Now()}
	plain, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.deps.Vault.Seal(plain, loginPlace))
	return &gestorv1.BeginLoginResponse{
		Request: sealed, Code: l.code(), ExpiresAt: timeOut(l.At.Add(loginRequestTTL)),
		Url: s.deps.PublicURL + "/approve?request=" + url.QueryEscape(sealed),
	}, nil
}

// open reads a request that was sealed by this installation and is not too old.
func (s *LoginService) open(text string) (loginRequest, error) {
	bad := fault.Invalid("request", "it is no request of this installation").WithFix("run `gestor login --browser` again")
	var l loginRequest
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return l, bad.WithCause(err)
	}
	plain, err := s.deps.Vault.Open(sealed, loginPlace)
	if err != nil {
		return l, bad.WithCause(err)
	}
	if err := json.Unmarshal(plain, &l); err != nil || len(l.Hash) != sha256.Size {
		return l, bad.WithCause(err)
	}
	if age := s.deps.Now().Sub(l.At); age > loginRequestTTL || age < -time.Minute {
		return l, fault.Invalid("request", "it is too old").WithFix("run `gestor login --browser` again")
	}
	return l, nil
}

// GetLogin tells who asks for what.
func (s *LoginService) GetLogin(ctx context.Context, req *gestorv1.GetLoginRequest) (*gestorv1.GetLoginResponse, error) {
	l, err := s.open(req.GetRequest())
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetLoginResponse{
		Computer: l.Computer, Address: l.Address, Code: l.code(), AskedAt: timeOut(l.At), ExpiresAt: timeOut(l.At.Add(loginRequestTTL)),
		SameNetwork: auth.Network(l.Address) == auth.Network(requestOf(ctx).address),
	}, nil
}

// ApproveLogin makes the terminal's session, in the name of the caller, who has just proven who they are.
func (s *LoginService) ApproveLogin(ctx context.Context, req *gestorv1.ApproveLoginRequest) (*gestorv1.ApproveLoginResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	l, err := s.open(req.GetRequest())
	if err != nil {
		return nil, err
	}
	now := s.deps.Now()
	session := gestor.Session{
		ID: gestor.NewID[gestor.SessionID]("ses"), UserID: r.caller.User.ID, TokenHash: l.Hash, CreatedAt: now,
		ExpiresAt: now.Add(sessionLifetime), SecondFactor: r.caller.Session.SecondFactor,
	}
	r.caller.Actor.Address, r.caller.Actor.UserAgent = l.Address, "gestor on "+l.Computer // the session is the terminal's
	_, err = r.propose(ctx, "", command.CreateSession{Session: session})
	return &gestorv1.ApproveLoginResponse{}, err
}
