package oidc

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CookieName is the cookie of what is under way.
const CookieName = "__Host-gestor-oidc"

// place is what the cookie is sealed for.
const place = "oidc cookie"

// skew is how much the clocks of a provider and of this installation may differ.
const skew = time.Minute

// underWay is what a browser keeps, sealed, while its person is elsewhere.
type underWay struct {
	Provider gestor.ProviderID `json:"p"`
	Revision uint64            `json:"r"` // of the provider
	State    string            `json:"s"`
	Nonce    string            `json:"n"`
	Verifier string            `json:"v"` // of PKCE
	Email    string            `json:"e"` // that was typed
	Next     string            `json:"x"`
	At       time.Time         `json:"a"`
}

// answer stands for the one answer that is taken.
func (w underWay) answer() gestor.Challenge {
	sum := sha256.Sum256([]byte("answer to " + w.Nonce))
	return gestor.Challenge{Hash: sum[:], Until: w.At.Add(gestor.ProviderAnswerTime)}
}

func newUnderWay(p gestor.Provider, email, next string, now time.Time) underWay {
	return underWay{
		Provider: p.ID, Revision: p.Revision, State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), Email: email, Next: next, At: now,
	}
}

func (s *Service) cookie(w underWay) (*http.Cookie, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("keep a sign-in: %w", err)
	}
	c := NoCookie() //nolint:gosec // has all its attributes from there
	c.Value, c.MaxAge = base64.RawURLEncoding.EncodeToString(s.o.Sealer.Seal(text, place)), int(gestor.ProviderAnswerTime.Seconds())
	return c, nil
}

// NoCookie takes the cookie away.
func NoCookie() *http.Cookie {
	return &http.Cookie{Name: CookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1}
}

// mostAnswer bounds what a provider may put into an address.
const mostAnswer = 4 << 10

// underWay reads the cookie, and compares it with what the browser comes back with.
func (s *Service) underWay(r *http.Request) (underWay, error) {
	var w underWay
	if len(r.URL.RawQuery) > mostAnswer {
		return w, startAgain("the provider's answer is too long", nil)
	}
	c, err := r.Cookie(CookieName)
	if err != nil {
		return w, startAgain("this took too long, or was begun in another browser", err)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(c.Value)
	if err != nil {
		return w, startAgain("this took too long, or was begun in another browser", err)
	}
	plain, err := s.o.Sealer.Open(sealed, place)
	if err == nil {
		err = json.Unmarshal(plain, &w)
	}
	if err != nil {
		return underWay{}, startAgain("this took too long, or was begun in another browser", err)
	}
	now := s.o.Now()
	if !now.Before(w.At.Add(gestor.ProviderAnswerTime)) || w.At.After(now.Add(skew)) {
		return underWay{}, startAgain("this took too long", nil)
	}
	if w.State == "" || w.Nonce == "" || w.Verifier == "" || subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("state")), []byte(w.State)) != 1 {
		return underWay{}, startAgain("the answer is to another question", nil)
	}
	return w, nil
}

func startAgain(why string, cause error) error {
	err := fault.Unauthenticated("%s", why).WithFix("start again").WithReason(ReasonAgain)
	if cause != nil {
		return err.WithCause(cause)
	}
	return err
}

func cutPort(address string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	return host, port, err == nil
}
