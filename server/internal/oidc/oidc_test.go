package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// box seals nothing away from tests.
type box struct{}

func (box) Seal(plain []byte, place string) []byte { return append([]byte(place+"|"), plain...) }

func (box) Open(sealed []byte, place string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), place+"|")
	if !ok {
		return nil, errors.New("not sealed for this")
	}
	return []byte(plain), nil
}

var moment = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newService() *Service {
	return New(Options{Sealer: box{}, HTTP: http.DefaultClient, PublicURL: "https://gestor.example.com", Now: func() time.Time { return moment }, Log: slog.New(slog.DiscardHandler)})
}

func callback(query string, cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/oidc/callback", http.NoBody)
	r.URL.RawQuery = query
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return r
}

func TestUnderWay_EndsAfterTenMinutes(t *testing.T) {
	s := newService()
	for age, good := range map[time.Duration]bool{0: true, 9 * time.Minute: true, 10 * time.Minute: false, -2 * time.Minute: false, -30 * time.Second: true} {
		w := newUnderWay(gestor.Provider{ID: "prv_1"}, "a@x.example", "/", moment.Add(-age))
		cookie, err := s.cookie(w)
		if err != nil {
			t.Fatal(err)
		}
		if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 600 {
			t.Errorf("the cookie is %+v", cookie)
		}
		_, err = s.underWay(callback("state="+w.State, cookie))
		if (err == nil) != good {
			t.Errorf("%s old: %v", age, err)
		}
	}
}

func FuzzUnderWay_TakesNothingThatWasNotSealedHere(f *testing.F) {
	s := newService()
	cookie, _ := s.cookie(newUnderWay(gestor.Provider{ID: "prv_1"}, "a@x.example", "/", moment))
	f.Add("state=x&code=y", cookie.Value)
	f.Add("state=%zz&state=;", "")
	f.Add("", "!!")
	f.Fuzz(func(t *testing.T, query, value string) {
		w, err := s.underWay(callback(query, &http.Cookie{Name: CookieName, Value: value}))
		if err == nil && (w.State == "" || url.QueryEscape(w.State) == "") {
			t.Errorf("taken without a state: %+v", w)
		}
		if err != nil && fault.KindOf(err) != fault.KindUnauthenticated {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzClaims_SpeakOfVerifiedAddressesOfTheDomainAlone(f *testing.F) {
	p := gestor.Provider{Domains: []string{"firm.example"}}
	f.Add(`{"sub":"1","email":"a@firm.example","email_verified":true}`)
	f.Add(`{"sub":"1","email":"a@firm.example@evil.example","email_verified":"true"}`)
	f.Add(`{"sub":1,"email":["a@firm.example"],"email_verified":1,"nbf":"x"}`)
	f.Add(`{"sub":"1","email":"A@FIRM.EXAMPLE\u0000","email_verified":true,"name":"\u202e"}`)
	f.Fuzz(func(t *testing.T, raw string) {
		var c claims
		if json.Unmarshal([]byte(raw), &c) != nil {
			return
		}
		who, err := c.person(p)
		if err != nil {
			return
		}
		if !bool(c.Verified) || !strings.HasSuffix(who.email, "@firm.example") || strings.Count(who.email, "@") != 1 || who.email != strings.ToLower(who.email) {
			t.Errorf("%s became %+v", raw, who)
		}
		if strings.ContainsFunc(who.name, unicode.IsControl) {
			t.Errorf("the name is %q", who.name)
		}
	})
}

func FuzzPlainText_IsShortAndCanBeSeen(f *testing.F) {
	f.Add("access_denied", 60)
	f.Add("\u202e\x00\xff<script>", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 1000 {
			return
		}
		got := plainText(s, most)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > most+1 || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// describe is a provider's description, as a test wants it.
func describe(t *testing.T, said func(base string) map[string]any) (*cache, gestor.Provider, *int) {
	t.Helper()
	asked := 0
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.Error(w, "a secret of the provider", http.StatusTeapot)
			return
		}
		d := map[string]any{"issuer": server.URL, "authorization_endpoint": server.URL + "/a", "token_endpoint": server.URL + "/t", "jwks_uri": server.URL + "/k"}
		maps.Copy(d, said(server.URL))
		if err := json.NewEncoder(w).Encode(d); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return newCache(server.Client(), func() time.Time { return moment }), gestor.Provider{Issuer: server.URL}, &asked
}

func TestDiscovery_RefusesWhatIsNotTheIssuerOrCannotBeUsed(t *testing.T) {
	for name, said := range map[string]map[string]any{
		"another issuer":    {"issuer": "https://evil.example"},
		"a slash more":      {"issuer": "/"},
		"no endpoint":       {"token_endpoint": ""},
		"a script":          {"authorization_endpoint": "javascript:alert(1)"},
		"nothing we take":   {"id_token_signing_alg_values_supported": []string{"none", "HS256"}},
		"not what it seems": {"jwks_uri": 7},
	} {
		c, p, _ := describe(t, func(string) map[string]any { return said })
		if _, err := c.get(t.Context(), p); fault.KindOf(err) != fault.KindUnavailable || strings.Contains(err.Error(), "evil.example") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDiscovery_AsksOnceAndForgetsTheOldestFirst(t *testing.T) {
	c, p, asked := describe(t, func(string) map[string]any { return nil })
	for range 3 {
		if _, err := c.get(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if *asked != 1 {
		t.Errorf("asked %d times", *asked)
	}
	for i := range 2 * mostKnown {
		c.keep(strings.Repeat("x", i+1), entry{until: moment.Add(time.Duration(i) * time.Minute)})
	}
	if len(c.all) > mostKnown {
		t.Errorf("%d are known", len(c.all))
	}
}

func TestDiscovery_TellsNothingOfWhatTheProviderAnswers(t *testing.T) {
	c, p, _ := describe(t, func(string) map[string]any { return nil })
	err := c.fetch(context.Background(), p.Issuer+"/other", &struct{}{})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "418") {
		t.Errorf("got %v", err)
	}
}
