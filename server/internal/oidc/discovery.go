package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	coreos "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// elsewhere is what a provider says of itself, and its keys.
type elsewhere struct {
	said     document
	keys     coreos.KeySet
	endpoint oauth2.Endpoint
}

// document is what is read of a provider's description.
type document struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	UserInfo      string   `json:"userinfo_endpoint"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// algorithms are those that are taken: with public keys only, and never none.
func algorithms() []string {
	return []string{
		coreos.RS256, coreos.RS384, coreos.RS512, coreos.ES256, coreos.ES384, coreos.ES512, coreos.PS256, coreos.PS384, coreos.PS512, coreos.EdDSA,
	}
}

// cache keeps what providers say of themselves for a while, and for a moment that they say nothing.
type cache struct {
	http *http.Client
	now  func() time.Time

	mu  sync.Mutex
	all map[string]entry // guarded by mu, by issuer
}

type entry struct {
	there *elsewhere
	err   error
	until time.Time
}

const (
	mostKnown  = 64
	knownFor   = time.Hour
	unknownFor = 5 * time.Second
)

func newCache(client *http.Client, now func() time.Time) *cache {
	return &cache{http: client, now: now, all: map[string]entry{}}
}

// get is what a provider says of itself, asked anew after an hour.
func (c *cache) get(ctx context.Context, p gestor.Provider) (*elsewhere, error) {
	c.mu.Lock()
	e, ok := c.all[p.Issuer]
	c.mu.Unlock()
	if ok && c.now().Before(e.until) {
		return e.there, e.err
	}
	e = entry{until: c.now().Add(knownFor)}
	if e.there, e.err = c.discover(ctx, p.Issuer); e.err != nil {
		if ctx.Err() != nil {
			return nil, e.err // it was the asker who left
		}
		e.until = c.now().Add(unknownFor)
	}
	c.keep(p.Issuer, e)
	return e.there, e.err
}

// keep makes room by forgetting what is to be asked anew first.
func (c *cache) keep(issuer string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.all) >= mostKnown {
		oldest := ""
		for k, v := range c.all {
			if oldest == "" || v.until.Before(c.all[oldest].until) {
				oldest = k
			}
		}
		delete(c.all, oldest)
	}
	c.all[issuer] = e
}

// discover asks a provider who it is.
func (c *cache) discover(ctx context.Context, issuer string) (*elsewhere, error) {
	var d document
	if err := c.fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &d); err != nil {
		return nil, err
	}
	if d.Issuer != issuer {
		return nil, down("the provider calls itself by another issuer than %s", issuer).
			WithFix("an administrator must write the issuer exactly as the provider does, with or without / at its end")
	}
	for _, address := range []string{d.Authorization, d.Token, d.Keys} {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !strings.HasPrefix(issuer, "http://")) {
			return nil, down("the provider's description names no good address for sign-ins, tokens and keys")
		}
	}
	supported := algorithms()
	if len(d.Algorithms) > 0 {
		supported = slices.DeleteFunc(supported, func(a string) bool { return !slices.Contains(d.Algorithms, a) })
	}
	if len(supported) == 0 {
		return nil, down("the provider signs with nothing that is taken here").WithFix("have it sign with RS256 or ES256")
	}
	d.Algorithms = supported
	style := oauth2.AuthStyleInHeader
	if len(d.TokenAuth) > 0 && !slices.Contains(d.TokenAuth, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return &elsewhere{
		said: d, endpoint: oauth2.Endpoint{AuthURL: d.Authorization, TokenURL: d.Token, AuthStyle: style},
		// The keys outlive the request, so they are not its.
		keys: coreos.NewRemoteKeySet(coreos.ClientContext(context.WithoutCancel(ctx), c.http), d.Keys),
	}, nil
}

// fetch reads a document of JSON. An error holds nothing of it.
func (c *cache) fetch(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return down("the provider's address is none").WithCause(err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return f
		}
		return down("the provider %s does not answer", req.URL.Hostname()).WithCause(err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		return down("the provider answers %d at %s", res.StatusCode, req.URL.Hostname()+req.URL.Path).
			WithFix("check the issuer: the provider describes itself below it")
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return down("what the provider says of itself cannot be read").WithCause(err)
	}
	return nil
}

// Test asks a provider who it is, and for its keys; nothing that was known counts.
func (s *Service) Test(ctx context.Context, p gestor.Provider) (endpoint string, keys int, err error) {
	there, err := s.known.discover(ctx, p.Issuer)
	if err != nil {
		return "", 0, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.known.fetch(ctx, there.said.Keys, &set); err != nil {
		return "", 0, err
	}
	if len(set.Keys) == 0 {
		return "", 0, down("the provider has no keys to sign with")
	}
	s.known.keep(p.Issuer, entry{there: there, until: s.known.now().Add(knownFor)})
	return there.said.Authorization, len(set.Keys), nil
}
