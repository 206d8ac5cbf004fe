package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	coreos "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// begin makes the address of the provider with a question in it that only this browser can bring the answer to.
func (s *Service) begin(there *elsewhere, p gestor.Provider, email, next string) (Start, error) {
	w := newUnderWay(p, email, next, s.o.Now())
	cookie, err := s.cookie(w)
	if err != nil {
		return Start{}, err
	}
	config, err := s.config(there, p)
	if err != nil {
		return Start{}, err
	}
	address := config.AuthCodeURL(w.State, coreos.Nonce(w.Nonce), oauth2.S256ChallengeOption(w.Verifier), oauth2.SetAuthURLParam("login_hint", email))
	u, err := url.Parse(address)
	if err != nil {
		return Start{}, down("the provider's address is none").WithCause(err)
	}
	return Start{URL: address, Host: u.Hostname(), Cookie: cookie}, nil
}

func (s *Service) config(there *elsewhere, p gestor.Provider) (*oauth2.Config, error) {
	secret := []byte(nil)
	if len(p.SecretSealed) > 0 {
		var err error
		if secret, err = s.o.Sealer.Open(p.SecretSealed, gestor.ProviderPlace(p.ID)); err != nil {
			return nil, down("the client secret of the provider cannot be read").WithFix("an administrator must set it anew: gestor providers set").WithCause(err)
		}
	}
	endpoint := there.endpoint
	if len(secret) == 0 {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: string(secret), Endpoint: endpoint, RedirectURL: s.RedirectURL(),
		Scopes: append([]string{coreos.ScopeOpenID}, p.Scopes...),
	}, nil
}

// person is whom a provider vouches for.
type person struct {
	subject, email, name string
}

// vouch exchanges the code a browser came back with, and checks who it stands for.
func (s *Service) vouch(r *http.Request, p gestor.Provider, w underWay) (person, error) {
	q := r.URL.Query()
	if q.Has("error") {
		return person{}, saidNo(q)
	}
	there, err := s.known.get(r.Context(), p)
	if err != nil {
		return person{}, err
	}
	if iss := q.Get("iss"); iss != p.Issuer && (iss != "" || there.said.NamesItself) {
		return person{}, startAgain("the answer is of another provider", nil)
	}
	if q.Get("code") == "" {
		return person{}, startAgain("the provider's answer is empty", nil)
	}
	config, err := s.config(there, p)
	if err != nil {
		return person{}, err
	}
	ctx := coreos.ClientContext(r.Context(), s.o.HTTP)
	token, err := config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(w.Verifier))
	if err != nil {
		return person{}, notExchanged(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return person{}, down("the provider did not say who signed in").WithFix("an administrator must let it give an ID token")
	}
	c, err := s.check(ctx, there, p, w, raw)
	if err != nil {
		return person{}, err
	}
	if c.Email == "" {
		if err := s.askMore(ctx, there, token, &c); err != nil {
			return person{}, err
		}
	}
	return c.person(p)
}

// saidNo is the refusal of a provider, in its words: a short text, whatever it is.
func saidNo(q url.Values) error {
	said := plainText(q.Get("error"), 60)
	if more := plainText(q.Get("error_description"), 200); more != "" {
		said += " (" + more + ")"
	}
	return fault.Denied("the provider did not sign you in: %s", said).WithFix("start again, or ask your administrator").WithReason(ReasonRefused)
}

// down is that a provider cannot be asked, or cannot answer.
func down(format string, args ...any) *fault.Error {
	return fault.Unavailable(format, args...).WithReason(ReasonDown)
}

// plainText is at most so many characters of a text that came from outside, those that can be seen.
func plainText(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*most)], "")
	s = strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return strings.TrimSpace(s)
}

// notExchanged tells a code that is worth nothing from a provider that does not answer, without the provider's text.
func notExchanged(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return f
		}
		return down("the provider does not answer").WithFix("try again in a moment").WithCause(errors.New("exchange the code: no good answer"))
	}
	code := plainText(refused.ErrorCode, 60)
	if code == "invalid_client" || code == "unauthorized_client" {
		return down("the provider does not know this installation").
			WithFix("an administrator must check client id, client secret and redirect address").WithCause(errors.New(code))
	}
	return startAgain("the provider did not take its own answer back", errors.New("exchange the code: "+code))
}

// claims are what an ID token says, as far as it matters.
type claims struct {
	Subject   string   `json:"sub"`
	Email     string   `json:"email"`
	Verified  claimed  `json:"email_verified"`
	Name      string   `json:"name"`
	Party     string   `json:"azp"`
	NotBefore *numeric `json:"nbf"`
}

// claimed is a claim that some providers write as text.
type claimed bool

// UnmarshalJSON takes true and "true".
func (c *claimed) UnmarshalJSON(b []byte) error {
	*c = string(b) == "true" || string(b) == `"true"`
	return nil
}

// numeric is seconds since 1970, perhaps with a fraction.
type numeric float64

func (n numeric) time() time.Time { return time.Unix(int64(n), 0) }

// check verifies an ID token: signature, issuer, audience, party, times and nonce.
func (s *Service) check(ctx context.Context, there *elsewhere, p gestor.Provider, w underWay, raw string) (claims, error) {
	var c claims
	now := s.o.Now()
	verifier := coreos.NewVerifier(p.Issuer, there.keys, &coreos.Config{
		ClientID: p.ClientID, SupportedSigningAlgs: there.said.Algorithms, SkipExpiryCheck: true, Now: s.o.Now,
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return c, notGood("it is not signed by the provider for this installation", err)
	}
	if err := token.Claims(&c); err != nil {
		return c, notGood("it cannot be read", err)
	}
	switch {
	case !now.Before(token.Expiry.Add(skew)):
		return c, notGood("it has expired; are the clocks right?", nil)
	case token.IssuedAt.After(now.Add(skew)), c.NotBefore != nil && c.NotBefore.time().After(now.Add(skew)):
		return c, notGood("it is of the future; are the clocks right?", nil)
	case c.Party != "" && c.Party != p.ClientID, c.Party == "" && len(token.Audience) > 1:
		return c, notGood("it is for somebody else", nil)
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(w.Nonce)) != 1:
		return c, notGood("it is the answer to another question", nil)
	case c.Subject == "" || len(c.Subject) > mostSubject:
		return c, notGood("it names nobody", nil)
	}
	return c, nil
}

const mostSubject = 255 // OpenID Connect Core 2

func notGood(why string, cause error) error {
	err := fault.Unauthenticated("the provider's word is not good: %s", why).WithFix("start again, or ask your administrator").WithReason(ReasonBad)
	if cause != nil {
		return err.WithCause(cause)
	}
	return err
}

// askMore asks for the address where the ID token does not say it.
func (s *Service) askMore(ctx context.Context, there *elsewhere, token *oauth2.Token, c *claims) error {
	if there.said.UserInfo == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, there.said.UserInfo, nil)
	if err != nil {
		return down("the provider's address is none").WithCause(err)
	}
	token.SetAuthHeader(req)
	res, err := s.o.HTTP.Do(req)
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return f
		}
		return down("the provider does not answer").WithCause(err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	var more claims
	if err := json.NewDecoder(res.Body).Decode(&more); err != nil || res.StatusCode != http.StatusOK || more.Subject != c.Subject {
		return down("the provider does not say which address you have").WithFix("an administrator must let it give the scope email")
	}
	c.Email, c.Verified, c.Name = more.Email, more.Verified, more.Name
	return nil
}

// person is who the claims speak of, if the provider may speak of them.
func (c claims) person(p gestor.Provider) (person, error) {
	if c.Email == "" {
		return person{}, fault.Denied("the provider does not say which address you have").WithFix("an administrator must let it give the scope email")
	}
	if !c.Verified {
		return person{}, fault.Denied("the provider has not verified your address").WithFix("confirm your address there, then sign in again").WithReason(ReasonUnverified)
	}
	email, err := gestor.CheckEmail("email", c.Email)
	if err != nil {
		return person{}, fault.Denied("the address that the provider gave is none")
	}
	if !p.Takes(email) {
		return person{}, fault.Denied("addresses of this domain do not sign in through this provider").WithFix("sign in there with your company's address").WithReason(ReasonDomain)
	}
	name, err := gestor.CheckTitle("name", c.Name)
	if err != nil {
		name = "" // a name is a nicety
	}
	return person{subject: c.Subject, email: email, name: name}, nil
}
