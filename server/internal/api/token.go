package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// TokenDeps are what the token service needs.
type TokenDeps struct {
	Engine Engine
	Now    func() time.Time // time.Now if nil
}

// TokenService makes and takes back the tokens of programs.
type TokenService struct{ deps TokenDeps }

var _ gestorv1connect.TokenServiceHandler = (*TokenService)(nil)

// NewTokenService makes the service.
func NewTokenService(d TokenDeps) *TokenService {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &TokenService{deps: d}
}

// ListTokens lists the caller's personal tokens.
func (s *TokenService) ListTokens(ctx context.Context, _ *gestorv1.ListTokensRequest) (*gestorv1.ListTokensResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	own, err := r.view.TokensByUser(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	out, err := r.tokensOut(ctx, own)
	return &gestorv1.ListTokensResponse{Tokens: out}, err
}

// ListTenantTokens lists all tokens of the tenant.
func (s *TokenService) ListTenantTokens(ctx context.Context, req *gestorv1.ListTenantTokensRequest) (*gestorv1.ListTenantTokensResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	tokens, next, err := r.view.Tokens(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out, err := r.tokensOut(ctx, tokens)
	return &gestorv1.ListTenantTokensResponse{Tokens: out, Page: pageOut(next)}, err
}

// CreateToken makes a personal token of the caller.
func (s *TokenService) CreateToken(ctx context.Context, req *gestorv1.CreateTokenRequest) (*gestorv1.CreateTokenResponse, error) {
	made, secret, err := s.create(ctx, req.GetRequestId(), gestor.Token{Kind: gestor.TokenPersonal}, req.GetSettings())
	return &gestorv1.CreateTokenResponse{Token: made, Secret: secret}, err
}

// CreateServiceToken makes a token of the tenant.
func (s *TokenService) CreateServiceToken(ctx context.Context, req *gestorv1.CreateServiceTokenRequest) (*gestorv1.CreateServiceTokenResponse, error) {
	token := gestor.Token{Kind: gestor.TokenService, Role: roleIn(req.GetRole())}
	made, secret, err := s.create(ctx, req.GetRequestId(), token, req.GetSettings())
	return &gestorv1.CreateServiceTokenResponse{Token: made, Secret: secret}, err
}

// create makes a token with what its maker decided. The secret is in this answer and nowhere else.
func (s *TokenService) create(ctx context.Context, requestID string, t gestor.Token, in *gestorv1.TokenSettings) (*gestorv1.Token, string, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, "", err
	}
	t.ID = gestor.NewID[gestor.TokenID]("tkn")
	if t.Name, err = gestor.CheckTitle("settings.name", in.GetName()); err != nil {
		return nil, "", err
	}
	if t.Permissions, err = permissionsIn(t, r.caller, in.GetPermissions()); err != nil {
		return nil, "", err
	}
	if t.Narrow, err = r.narrowingIn(ctx, "settings.narrowing", in.GetNarrowing()); err != nil {
		return nil, "", err
	}
	asked, err := spanIn("settings.lifetime", in.GetLifetime())
	if err != nil {
		return nil, "", err
	}
	lifetime, err := gestor.CheckTokenLifetime("settings.lifetime", asked)
	if err != nil {
		return nil, "", err
	}
	t.ExpiresAt = s.deps.Now().Add(lifetime)
	secret, hash := auth.NewToken(t.Kind)
	t.Hash = hash
	receipt, err := r.propose(ctx, requestID, command.CreateToken{Token: t})
	if err != nil {
		return nil, "", err
	}
	if receipt.Object != string(t.ID) {
		return nil, "", fault.Exists("this request has made the token %s already, and its secret is shown only once", receipt.Object).
			WithFix("take that token back and make another")
	}
	stored, err := r.view.Token(ctx, t.ID)
	if err != nil {
		return nil, "", err
	}
	out, err := r.tokensOut(ctx, []gestor.Token{stored})
	if err != nil {
		return nil, "", err
	}
	return out[0], secret, nil
}

// permissionsIn checks the permissions a token is to have: known, and held by whoever it acts as.
func permissionsIn(t gestor.Token, maker auth.Caller, names []string) ([]string, error) {
	held := maker.Permissions()
	if t.Kind == gestor.TokenService {
		held = auth.Permissions(t.Role, false)
	}
	out := make([]string, 0, len(names))
	for i, name := range names {
		field := fmt.Sprintf("settings.permissions[%d]", i)
		name = strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
		p, ok := auth.Named(name)
		switch {
		case !ok || p == gestorv1.Permission_PERMISSION_MEMBER:
			return nil, fault.Invalid(field, "there is no permission %.50q for tokens", name).WithFix("see `gestor permissions`")
		case !slices.Contains(held, p):
			return nil, fault.Invalid(field, "the role %s does not hold %s, so a token of it cannot either", tokenRole(t, maker), name).
				WithFix("see `gestor permissions`")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func tokenRole(t gestor.Token, maker auth.Caller) gestor.Role {
	if t.Kind == gestor.TokenService {
		return t.Role
	}
	return maker.Role()
}

// DeleteToken takes a personal token of the caller back.
func (s *TokenService) DeleteToken(ctx context.Context, req *gestorv1.DeleteTokenRequest) (*gestorv1.DeleteTokenResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	own, err := r.view.TokensByUser(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	t, err := tokenAmong(own, req.GetToken())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteToken{ID: t.ID})
	return &gestorv1.DeleteTokenResponse{}, err
}

// DeleteTenantToken takes any token of the tenant back.
func (s *TokenService) DeleteTenantToken(ctx context.Context, req *gestorv1.DeleteTenantTokenRequest) (*gestorv1.DeleteTenantTokenResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	t, err := r.view.Token(ctx, gestor.TokenID(req.GetToken()))
	if errors.Is(err, fault.KindNotFound) {
		service, failed := r.view.ServiceTokens(ctx)
		if failed != nil {
			return nil, failed
		}
		t, err = tokenAmong(service, req.GetToken())
	}
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteToken{ID: t.ID})
	return &gestorv1.DeleteTenantTokenResponse{}, err
}

// tokenAmong finds a token by id or name.
func tokenAmong(tokens []gestor.Token, ref string) (gestor.Token, error) {
	i := slices.IndexFunc(tokens, func(t gestor.Token) bool { return string(t.ID) == ref || t.Name == ref })
	if i < 0 {
		return gestor.Token{}, fault.NotFound("there is no token %q", ref)
	}
	return tokens[i], nil
}

func (r reach) tokensOut(ctx context.Context, tokens []gestor.Token) ([]*gestorv1.Token, error) {
	emails := map[gestor.UserID]string{}
	out := make([]*gestorv1.Token, 0, len(tokens))
	for _, t := range tokens {
		if _, ok := emails[t.UserID]; !ok {
			user, err := r.view.User(ctx, t.UserID)
			if err != nil && !errors.Is(err, fault.KindNotFound) {
				return nil, err
			}
			emails[t.UserID] = user.Email
		}
		out = append(out, tokenOut(t, emails[t.UserID], r.narrowingOut(ctx, t.Narrow)))
	}
	return out, nil
}

func tokenOut(t gestor.Token, email string, narrowing *gestorv1.Narrowing) *gestorv1.Token {
	kind := gestorv1.TokenKind_TOKEN_KIND_PERSONAL
	if t.Kind == gestor.TokenService {
		kind = gestorv1.TokenKind_TOKEN_KIND_SERVICE
	}
	return &gestorv1.Token{
		Id: string(t.ID), Kind: kind, Name: t.Name, UserId: string(t.UserID), UserEmail: email, Role: roles[t.Role],
		Permissions: t.Permissions, Narrowing: narrowing, CreatedAt: timeOut(t.CreatedAt), ExpiresAt: timeOut(t.ExpiresAt),
		SeenAt: timeOut(t.SeenAt), SeenFrom: t.SeenFrom,
	}
}

func roleIn(r gestorv1.Role) gestor.Role {
	for role, number := range roles {
		if number == r {
			return role
		}
	}
	return ""
}
