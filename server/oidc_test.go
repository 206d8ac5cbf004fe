package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
)

const (
	firmClient = "gestor"
	firmSecret = "a secret of the firm"
)

// firm is a provider that says whatever a test wants it to.
type firm struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	key     *ecdsa.PrivateKey // guarded by mu, as all that follows
	kid     string
	granted map[string]url.Values              // codes, each for what was asked
	claims  map[string]any                     // besides the usual ones, or in their place
	forge   func(claims map[string]any) string // makes the token in another way
	failure string                             // the answer instead of a token
}

func newFirm(t *testing.T) *firm {
	t.Helper()
	f := &firm{t: t, granted: map[string]url.Values{}}
	f.rotate("k1")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		f.say(w, map[string]any{
			"issuer": f.server.URL, "authorization_endpoint": f.server.URL + "/authorize", "token_endpoint": f.server.URL + "/token",
			"jwks_uri": f.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.say(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: f.key.Public(), KeyID: f.kid, Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", f.token)
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

func (f *firm) say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Error(err)
	}
}

// rotate gives the firm another key to sign with.
func (f *firm) rotate(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key, f.kid = key, kid
}

// token exchanges a code, once, for who has the verifier and the secret.
func (f *firm) token(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	asked, ok := f.granted[r.PostFormValue("code")]
	delete(f.granted, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if f.failure != "" || !ok || id != firmClient || secret != url.QueryEscape(firmSecret) ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || asked.Get("code_challenge_method") != "S256" {
		w.WriteHeader(http.StatusBadRequest)
		f.say(w, map[string]string{"error": "invalid_grant", "error_description": "body-of-the-provider " + f.failure})
		return
	}
	claims := map[string]any{
		"iss": f.server.URL, "aud": firmClient, "sub": "dora-1", "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"email": "dora@firm.example", "email_verified": true, "name": "Dora Silva",
	}
	maps.Copy(claims, f.claims)
	forge := f.forge
	if forge == nil {
		forge = func(c map[string]any) string {
			return f.sign(jose.SigningKey{Algorithm: jose.ES256, Key: f.key}, f.kid, c)
		}
	}
	f.say(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": forge(claims)})
}

func (f *firm) sign(key jose.SigningKey, kid string, claims map[string]any) string {
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	if err != nil {
		f.t.Error(err)
		return ""
	}
	body, _ := json.Marshal(claims)
	signed, err := signer.Sign(body)
	if err != nil {
		f.t.Error(err)
		return ""
	}
	text, _ := signed.CompactSerialize()
	return text
}

// grant is the code that the firm gives for what was asked.
func (f *firm) grant(asked url.Values) string {
	code := rand.Text()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.granted[code] = asked
	return code
}

// says has the firm claim something else the next times.
func (f *firm) says(claims map[string]any, forge func(map[string]any) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims, f.forge = claims, forge
}

// office is a server with a firm that its people sign in at.
type office struct {
	*browser

	firm      *firm
	providers gestorv1connect.ProviderServiceClient
	users     gestorv1connect.UserServiceClient
	settings  *gestorv1.ProviderSettings
}

func newOffice(t *testing.T) *office {
	t.Helper()
	b, c := newBrowser(t, func(o *server.Config) { o.Outgoing.Allow = []string{"127.0.0.0/8"} })
	sessions := gestorv1connect.NewSessionServiceClient(c.HTTP, c.URL, c.Options()...)
	session, err := sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: anasEmail, Password: anasPassword})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	u, err := url.Parse(b.base)
	if err != nil {
		t.Fatal(err)
	}
	signed := rpc.New(rpc.Options{Address: u.Host, Pin: b.pin, Token: func() string { return session.GetToken() }})
	t.Cleanup(signed.Close)
	o := &office{
		browser: b, firm: newFirm(t),
		providers: gestorv1connect.NewProviderServiceClient(signed.HTTP, signed.URL, signed.Options()...),
		users:     gestorv1connect.NewUserServiceClient(signed.HTTP, signed.URL, signed.Options()...),
	}
	o.settings = &gestorv1.ProviderSettings{
		Name: "Firm", Issuer: o.firm.server.URL, ClientId: firmClient, Domains: []string{"firm.example", "example.com"}, CreateUsers: true,
	}
	if _, err := o.providers.CreateProvider(t.Context(), &gestorv1.CreateProviderRequest{Settings: o.settings, ClientSecret: firmSecret}); err != nil {
		t.Fatal(err)
	}
	return o
}

// set changes the provider.
func (o *office) set(change func(*gestorv1.ProviderSettings)) {
	o.t.Helper()
	change(o.settings)
	if _, err := o.providers.UpdateProvider(o.t.Context(), &gestorv1.UpdateProviderRequest{Provider: "Firm", Settings: o.settings}); err != nil {
		o.t.Fatal(err)
	}
}

// leave begins a sign-in, and returns what the firm is asked.
func (o *office) leave(email string) url.Values {
	o.t.Helper()
	res, body := o.get("/oidc/start?" + url.Values{"email": {email}, "next": {"/approve?request=x"}}.Encode())
	_, address, ok := strings.Cut(res.Header.Get("Refresh"), "url=")
	u, err := url.Parse(address)
	if !ok || err != nil || !strings.HasPrefix(address, o.firm.server.URL+"/authorize?") {
		o.t.Fatalf("sent to %q: %s", address, body)
	}
	return u.Query()
}

// comeBack brings an answer, and returns where one is then and what the page says.
func (o *office) comeBack(answer url.Values) (status int, to, body string) {
	o.t.Helper()
	o.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { o.client.CheckRedirect = nil }()
	res, body := o.get("/oidc/callback?" + answer.Encode())
	return res.StatusCode, res.Header.Get("Location"), body
}

// through goes all the way.
func (o *office) through(email string) (status int, to, body string) {
	o.t.Helper()
	asked := o.leave(email)
	return o.comeBack(url.Values{"code": {o.firm.grant(asked)}, "state": {asked.Get("state")}})
}

func TestOIDC_MakesAUserOnceAndSignsThemInAgain(t *testing.T) {
	o := newOffice(t)
	for range 2 {
		status, to, body := o.through("dora@firm.example")
		if status != http.StatusSeeOther || to != "/approve?request=x" {
			t.Fatalf("%d to %q: %s", status, to, body)
		}
		_, body = o.get("/")
		wants(t, body, "dora@firm.example", "Acme")
		o.post("/signout", "same-origin", nil)
	}
	found, err := o.providers.ListIdentities(t.Context(), &gestorv1.ListIdentitiesRequest{})
	if err != nil || len(found.GetIdentities()) != 1 || found.GetIdentities()[0].GetEmail() != "dora@firm.example" {
		t.Errorf("got %v, %v", found, err)
	}
	u, err := o.users.GetUser(t.Context(), &gestorv1.GetUserRequest{User: "dora@firm.example"})
	if err != nil || u.GetUser().GetRole() != gestorv1.Role_ROLE_DEVELOPER || u.GetUser().GetName() != "Dora Silva" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestOIDC_LinksAUserWhoExistsByTheVerifiedAddress(t *testing.T) {
	o := newOffice(t)
	o.set(func(s *gestorv1.ProviderSettings) { s.CreateUsers = false })
	o.firm.says(map[string]any{"sub": "ana-1", "email": "Ana@Example.com"}, nil)
	if status, to, body := o.through(anasEmail); status != http.StatusSeeOther {
		t.Fatalf("%d to %q: %s", status, to, body)
	}
	o.firm.says(map[string]any{"sub": "another-ana", "email": anasEmail}, nil)
	if status, _, body := o.through(anasEmail); status != http.StatusForbidden || !strings.Contains(body, "linked to another account") {
		t.Errorf("an address that was given to somebody else signs in: %d %s", status, body)
	}
	o.firm.says(nil, nil)
	if status, _, body := o.through("dora@firm.example"); status != http.StatusForbidden || !strings.Contains(body, "nobody here can be signed in") {
		t.Errorf("a stranger comes in: %d %s", status, body)
	}
}

func TestOIDC_TakesNoTokenThatIsNotGood(t *testing.T) {
	o := newOffice(t)
	now := time.Now()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := o.firm
	good := func(c map[string]any) string {
		return f.sign(jose.SigningKey{Algorithm: jose.ES256, Key: f.key}, f.kid, c)
	}
	for name, bad := range map[string]struct {
		claims map[string]any
		forge  func(map[string]any) string
		says   string
	}{
		"another audience":   {map[string]any{"aud": "somebody"}, nil, "not signed by the provider for"},
		"several audiences":  {map[string]any{"aud": []string{firmClient, "somebody"}}, nil, "for somebody else"},
		"another party":      {map[string]any{"azp": "somebody"}, nil, "for somebody else"},
		"another issuer":     {map[string]any{"iss": "https://evil.example"}, nil, "not signed by the provider"},
		"another nonce":      {map[string]any{"nonce": "x"}, nil, "another question"},
		"no nonce":           {map[string]any{"nonce": ""}, nil, "another question"},
		"expired":            {map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}, nil, "expired"},
		"of the future":      {map[string]any{"iat": now.Add(5 * time.Minute).Unix()}, nil, "of the future"},
		"not yet":            {map[string]any{"nbf": now.Add(5 * time.Minute).Unix()}, nil, "of the future"},
		"nobody":             {map[string]any{"sub": ""}, nil, "names nobody"},
		"a subject too long": {map[string]any{"sub": strings.Repeat("x", 300)}, nil, "names nobody"},
		"not verified":       {map[string]any{"email_verified": false}, nil, "has not verified"},
		"verified as a text": {map[string]any{"email_verified": "false"}, nil, "has not verified"},
		"another domain":     {map[string]any{"email": "dora@evil.example"}, nil, "of this domain"},
		"a domain within":    {map[string]any{"email": "dora@firm.example.evil.example"}, nil, "of this domain"},
		"no address":         {map[string]any{"email": ""}, nil, "which address"},
		"hardly an address":  {map[string]any{"email": "dora@x@firm.example"}, nil, "is none"},
		"another key": {nil, func(c map[string]any) string {
			return f.sign(jose.SigningKey{Algorithm: jose.ES256, Key: other}, f.kid, c)
		}, "not signed"},
		"a key of the client": {nil, func(c map[string]any) string {
			return f.sign(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(firmSecret + firmSecret)}, f.kid, c)
		}, "not signed"},
		"no signature": {nil, func(c map[string]any) string {
			body, _ := json.Marshal(c)
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
		}, "not signed"},
		"a signature of other claims": {nil, func(c map[string]any) string {
			parts := strings.Split(good(c), ".")
			c["email"] = anasEmail
			body, _ := json.Marshal(c)
			return parts[0] + "." + base64.RawURLEncoding.EncodeToString(body) + "." + parts[2]
		}, "not signed"},
		"no token": {nil, func(map[string]any) string { return "" }, ""},
	} {
		f.says(bad.claims, bad.forge)
		status, to, body := o.through("dora@firm.example")
		if status == http.StatusSeeOther || to != "" || !strings.Contains(body, bad.says) {
			t.Errorf("%s: %d to %q: %s", name, status, to, body)
		}
	}
	f.says(map[string]any{"exp": now.Add(-30 * time.Second).Unix(), "iat": now.Add(30 * time.Second).Unix(), "azp": firmClient, "email_verified": "true"}, nil)
	if status, _, body := o.through("dora@firm.example"); status != http.StatusSeeOther {
		t.Errorf("clocks that differ by half a minute: %d %s", status, body)
	}
}

func TestOIDC_TakesAnswersToItsOwnQuestionAlone(t *testing.T) {
	o := newOffice(t)
	for name, make := range map[string]func(asked url.Values) url.Values{
		"another state": func(asked url.Values) url.Values { return url.Values{"code": {o.firm.grant(asked)}, "state": {"x"}} },
		"no state":      func(asked url.Values) url.Values { return url.Values{"code": {o.firm.grant(asked)}} },
		"another code":  func(asked url.Values) url.Values { return url.Values{"code": {"x"}, "state": asked["state"]} },
		"no code":       func(asked url.Values) url.Values { return url.Values{"state": asked["state"]} },
		"another provider": func(asked url.Values) url.Values {
			return url.Values{"code": {o.firm.grant(asked)}, "state": asked["state"], "iss": {"https://evil.example"}}
		},
		"a code for another verifier": func(asked url.Values) url.Values {
			asked.Set("code_challenge", "x")
			return url.Values{"code": {o.firm.grant(asked)}, "state": asked["state"]}
		},
		"an endless answer": func(asked url.Values) url.Values {
			return url.Values{"code": {strings.Repeat("x", 5000)}, "state": asked["state"]}
		},
	} {
		status, _, body := o.comeBack(make(o.leave("dora@firm.example")))
		if status != http.StatusUnauthorized || strings.Contains(body, "body-of-the-provider") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	asked := o.leave("dora@firm.example")
	if jar := o.client.Jar; jar != nil {
		o.client.Jar = nil // another browser
		status, _, _ := o.comeBack(url.Values{"code": {o.firm.grant(asked)}, "state": asked["state"]})
		if o.client.Jar = jar; status != http.StatusUnauthorized {
			t.Errorf("in another browser: %d", status)
		}
	}
}

func TestOIDC_RefusesAnAnswerThatIsShownAgain(t *testing.T) {
	o := newOffice(t)
	asked := o.leave("dora@firm.example")
	base, err := url.Parse(o.base)
	if err != nil {
		t.Fatal(err)
	}
	kept := o.client.Jar.Cookies(base) // who copies the cookie has what the browser had
	answer := url.Values{"code": {o.firm.grant(asked)}, "state": {asked.Get("state")}}
	if status, _, body := o.comeBack(answer); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	for name, code := range map[string]string{"the same code": answer.Get("code"), "another code": o.firm.grant(asked)} {
		o.client.Jar.SetCookies(base, kept)
		answer.Set("code", code)
		if status, _, body := o.comeBack(answer); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestOIDC_FollowsTheFirmsKeys(t *testing.T) {
	o := newOffice(t)
	for _, kid := range []string{"k1", "k2", "k3"} {
		if kid != "k1" {
			o.firm.rotate(kid)
		}
		if status, _, body := o.through("dora@firm.example"); status != http.StatusSeeOther {
			t.Errorf("with the key %s: %d %s", kid, status, body)
		}
	}
}

func TestOIDC_LetsNobodyInWhoMayNotComeIn(t *testing.T) {
	o := newOffice(t)
	if status, _, body := o.through("dora@firm.example"); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	block := &gestorv1.UpdateUserRequest{User: "dora@firm.example", Status: gestorv1.UserStatus_USER_STATUS_BLOCKED.Enum()}
	if _, err := o.users.UpdateUser(t.Context(), block); err != nil {
		t.Fatal(err)
	}
	if status, _, body := o.through("dora@firm.example"); status != http.StatusForbidden || !strings.Contains(body, "is blocked") {
		t.Errorf("a blocked user: %d %s", status, body)
	}
	asked := o.leave("dora@firm.example")
	o.set(func(s *gestorv1.ProviderSettings) { s.Disabled = true })
	if status, _, body := o.comeBack(url.Values{"code": {o.firm.grant(asked)}, "state": {asked.Get("state")}}); status != http.StatusUnauthorized {
		t.Errorf("a provider that was disabled meanwhile: %d %s", status, body)
	}
	if res, body := o.get("/oidc/start?email=dora@firm.example"); res.StatusCode != http.StatusNotFound || strings.Contains(body, o.firm.server.URL) {
		t.Errorf("a disabled provider: %d %s", res.StatusCode, body)
	}
	unknown, _ := o.get("/oidc/start?email=somebody@nowhere.example")
	if unknown.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown domain: %d", unknown.StatusCode)
	}
}

func TestOIDC_ShowsTheFirmsRefusalAsPlainText(t *testing.T) {
	o := newOffice(t)
	asked := o.leave("dora@firm.example")
	_, _, body := o.comeBack(url.Values{"error": {"access_denied"}, "error_description": {"<script>alert(1)</script>\u202eno"}, "state": {asked.Get("state")}})
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "\u202e") {
		t.Errorf("got %s", body)
	}
	wants(t, body, "access_denied")
	_, _, body = o.comeBack(url.Values{"error": {"pay to evil.example"}, "state": {"x"}})
	if strings.Contains(body, "evil.example") {
		t.Errorf("a link puts its text on our page: %s", body)
	}
}
