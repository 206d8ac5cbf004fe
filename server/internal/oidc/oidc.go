// Package oidc signs people in through another place, by OpenID Connect: authorization code with PKCE, state and nonce. It
// sends a browser there, and checks what it comes back with; who that is here, and whether they may come in, is decided
// where the state is.
//
// Guarantees. The servers keep nothing between the two steps: what is under way is one sealed cookie of ten minutes. An
// answer counts once, for the browser that asked, from the provider that was asked, as it was configured then. Providers are
// reached by package outward alone, so that nobody can have the servers ask addresses behind them; what they answer is
// bounded, and never shown but for a short text of an error. Whether an address is known here shows to nobody.
package oidc

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Admitter signs in whom a provider has vouched for.
type Admitter interface {
	AdmitIdentity(ctx context.Context, p gestor.Provider, op command.AdmitIdentity) (*gestorv1.CreateSessionResponse, error)
}

// The reasons of refusals, for pages that say them in other words.
const (
	ReasonUnknown    fault.Reason = "company_unknown"    // nobody has set up the domain
	ReasonAgain      fault.Reason = "company_again"      // what came back is too late, or of something else
	ReasonRefused    fault.Reason = "company_refused"    // the provider said no
	ReasonDown       fault.Reason = "company_down"       // the provider cannot be asked
	ReasonUnverified fault.Reason = "company_unverified" // it has not verified the address
	ReasonDomain     fault.Reason = "company_domain"     // the address is of another domain
	ReasonBad        fault.Reason = "company_bad"        // its word is not good
)

// Options are what signing in elsewhere is made of; all of it.
type Options struct {
	View      func(gestor.Scope) *state.View
	Sealer    auth.Sealer
	HTTP      *http.Client // the way outward
	Plain     bool         // whether there are networks that may be reached without TLS
	Admitter  Admitter
	PublicURL string // under which browsers reach this installation
	Now       func() time.Time
	Log       *slog.Logger
}

// Service signs people in through providers. It is safe for concurrent use.
type Service struct {
	o      Options
	known  *cache
	starts *limit.Rates // by network: each may ask a provider something
}

// How often people of a network may begin and come back, after some at once.
const (
	startsPerSecond = 1
	startsAtOnce    = 60
)

// New makes the service.
func New(o Options) *Service {
	return &Service{
		o: o, known: newCache(o.HTTP, o.Now), starts: limit.NewRates(limit.RatesOptions{PerSecond: startsPerSecond, Burst: startsAtOnce}),
	}
}

// RedirectURL is where providers send people back to.
func (s *Service) RedirectURL() string { return s.o.PublicURL + "/oidc/callback" }

// PlainAllowed reports whether there are networks that may be reached without TLS.
func (s *Service) PlainAllowed() bool { return s.o.Plain }

// Offered reports whether anybody may sign in elsewhere.
func (s *Service) Offered(r *http.Request) bool {
	ok, err := s.o.View(gestor.SystemScope()).HasProvider(r.Context())
	return ok && err == nil
}

// Start is where to send a browser, and the cookie it comes back with.
type Start struct {
	URL    string
	Host   string // of URL, for people
	Cookie *http.Cookie
}

// Begin begins to sign in whoever has an address. The answer for a domain that nobody has set up tells nothing else.
func (s *Service) Begin(r *http.Request, email, next string) (Start, error) {
	if wait := s.starts.Take(networkOf(r)); wait > 0 {
		return Start{}, fault.Exhausted("too many sign-ins were begun from your network").WithRetryAfter(wait)
	}
	address, err := gestor.CheckEmail("email", email)
	if err != nil {
		return Start{}, err
	}
	_, domain, _ := strings.Cut(address, "@")
	p, err := s.o.View(gestor.SystemScope()).ProviderByDomain(r.Context(), domain)
	if fault.KindOf(err) == fault.KindNotFound || err == nil && p.Disabled {
		return Start{}, notOffered(domain)
	}
	if err != nil {
		return Start{}, err
	}
	there, err := s.known.get(r.Context(), p)
	if err != nil {
		s.o.Log.Warn("provider not reached", "provider", p.ID, "issuer", p.Issuer, "err", err)
		return Start{}, err
	}
	return s.begin(there, p, address, next)
}

func notOffered(domain string) error {
	return fault.NotFound("there is no company sign-in for %s here", domain).WithFix("sign in with your password, or ask your administrator").
		WithReason(ReasonUnknown)
}

// Result is what came of a sign-in elsewhere.
type Result struct {
	Answer *gestorv1.CreateSessionResponse
	Email  string
	Next   string // where the person wanted to go
}

// Complete checks what a browser comes back with, and signs in.
func (s *Service) Complete(r *http.Request) (Result, error) {
	if wait := s.starts.Take(networkOf(r)); wait > 0 {
		return Result{}, fault.Exhausted("too many sign-ins came from your network").WithRetryAfter(wait)
	}
	w, err := s.underWay(r)
	if err != nil {
		return Result{}, err
	}
	out := Result{Next: w.Next, Email: w.Email}
	p, err := s.o.View(gestor.SystemScope()).Provider(r.Context(), w.Provider)
	if fault.KindOf(err) == fault.KindNotFound || err == nil && (p.Disabled || p.Revision != w.Revision) {
		return out, startAgain("the sign-in was changed meanwhile", nil)
	}
	if err != nil {
		return out, err
	}
	who, err := s.vouch(r, p, w)
	if err != nil {
		s.o.Log.Warn("sign-in elsewhere refused", "provider", p.ID, "kind", fault.KindOf(err), "err", err)
		return out, err
	}
	out.Email = who.email
	out.Answer, err = s.o.Admitter.AdmitIdentity(r.Context(), p, command.AdmitIdentity{
		Provider: p.ID, Revision: p.Revision, Identity: gestor.NewID[gestor.IdentityID]("idn"), Subject: who.subject, Email: who.email,
		Name: who.name, User: gestor.NewID[gestor.UserID]("usr"), Answer: w.answer(),
	})
	return out, err
}

func networkOf(r *http.Request) string {
	host, _, ok := cutPort(r.RemoteAddr)
	if !ok {
		host = r.RemoteAddr
	}
	return auth.Network(host)
}
