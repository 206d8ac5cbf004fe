package server_test

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
)

// browser is a person with a cookie jar in front of a claimed server.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
	lang   string
	pin    []byte // of the server's root
}

const (
	anasEmail    = "ana@example.com"
	anasPassword = "walk the quiet harbour"
)

func newBrowser(t *testing.T, change ...func(*server.Config)) (*browser, *rpc.Client) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir, change...)
	pin, err := hex.DecodeString(read(t, dir, "server-root.pin"))
	if err != nil {
		t.Fatal(err)
	}
	c := rpc.New(rpc.Options{Address: s.address, Pin: pin})
	t.Cleanup(c.Close)
	setup := gestorv1connect.NewSetupServiceClient(c.HTTP, c.URL, c.Options()...)
	claim := &gestorv1.ClaimRequest{Secret: read(t, dir, "setup-secret"), TenantName: "Acme", Email: anasEmail, Password: anasPassword}
	if _, err := setup.Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, client: &http.Client{Jar: jar, Transport: transport}, base: "https://" + s.address, lang: "en", pin: pin}, c
}

func (b *browser) do(req *http.Request) (*http.Response, string) {
	b.t.Helper()
	req.Header.Set("Accept-Language", b.lang)
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(body)
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "none")
	return b.do(req)
}

// post sends a form from a page of a site: "same-origin" for our own.
func (b *browser) post(path, site string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", site)
	return b.do(req)
}

func (b *browser) signIn(next string) (*http.Response, string) {
	b.t.Helper()
	return b.post("/signin", "same-origin", url.Values{"email": {anasEmail}, "password": {anasPassword}, "next": {next}})
}

func wants(t *testing.T, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q:\n%s", part, body)
		}
	}
}

func TestPages_SignInAndOutWithACookieThatNoScriptReads(t *testing.T) {
	b, _ := newBrowser(t)
	res, body := b.get("/")
	if res.Request.URL.Path != "/signin" {
		t.Fatalf("a stranger is at %s", res.Request.URL)
	}
	wants(t, body, "<h1>Sign in</h1>")
	csp := res.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("the policy lacks %q: %s", part, csp)
		}
	}
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("got %v", res.Header)
	}
	res, body = b.post("/signin", "same-origin", url.Values{"email": {anasEmail}, "password": {"wrong password"}})
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", res.StatusCode)
	}
	wants(t, body, "wrong", `value="`+anasEmail+`"`)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ = b.signIn("/")
	cookie := res.Header.Get("Set-Cookie")
	for _, part := range []string{"__Host-gestor=gss_", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie lacks %s: %s", part, cookie)
		}
	}
	b.client.CheckRedirect = nil
	_, body = b.get("/")
	wants(t, body, anasEmail, "Acme", "Sign out")
	if res, _ = b.post("/signout", "same-origin", nil); res.Request.URL.Path != "/signin" {
		t.Errorf("after signing out at %s", res.Request.URL)
	}
	if res, _ = b.get("/"); res.Request.URL.Path != "/signin" {
		t.Errorf("the session goes on: %s", res.Request.URL)
	}
}

func TestPages_RefuseFormsOfOtherSites(t *testing.T) {
	b, _ := newBrowser(t)
	b.signIn("/")
	for _, site := range []string{"cross-site", "same-site"} {
		if res, _ := b.post("/signout", site, nil); res.StatusCode != http.StatusForbidden {
			t.Errorf("from %s: %d", site, res.StatusCode)
		}
	}
	if res, _ := b.get("/"); res.Request.URL.Path != "/" {
		t.Errorf("somebody else signed Ana out: %s", res.Request.URL)
	}
}

func TestPages_GoOnOnlyToPagesOfThisServer(t *testing.T) {
	b, _ := newBrowser(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for next, want := range map[string]string{
		"/approve?request=x": "/approve?request=x", "https://evil.example/": "/", "//evil.example/": "/", `/\evil.example`: "/",
		"javascript:alert(1)": "/", "": "/", "/\r\nSet-Cookie: x=y": "/",
	} {
		if res, _ := b.signIn(next); res.Header.Get("Location") != want {
			t.Errorf("next %q goes to %q", next, res.Header.Get("Location"))
		}
	}
}

func TestPages_SpeakTheReadersLanguage(t *testing.T) {
	b, _ := newBrowser(t)
	for lang, want := range map[string]string{
		"pt-BR,pt;q=0.9": `<html lang="pt-BR">`, "pt": `<html lang="pt-BR">`, "en-GB": `<html lang="en">`, "fi": `<html lang="en">`, "": `<html lang="en">`,
		"\x00;;q=x": `<html lang="en">`,
	} {
		b.lang = strings.ReplaceAll(lang, "\x00", "")
		_, body := b.get("/signin")
		wants(t, body, want)
	}
}

func TestPages_EscapeWhatPeopleSend(t *testing.T) {
	b, _ := newBrowser(t)
	_, body := b.post("/signin", "same-origin", url.Values{"email": {`"><script>alert(1)</script>`}, "password": {"x"}, "next": {`/"><script>`}})
	if strings.Contains(body, "<script>") {
		t.Errorf("a script got in: %s", body)
	}
}

func TestCookie_CountsForTheAPIOnlyFromOurOwnPages(t *testing.T) {
	b, _ := newBrowser(t)
	b.signIn("/")
	for site, want := range map[string]int{"same-origin": http.StatusOK, "none": http.StatusUnauthorized, "": http.StatusUnauthorized, "cross-site": http.StatusForbidden} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+gestorv1connect.SessionServiceGetSessionProcedure, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		if res, body := b.do(req); res.StatusCode != want {
			t.Errorf("from %q: %d %s, want %d", site, res.StatusCode, body, want)
		}
	}
}

func TestPages_ApproveATerminalOnceWithTheCodeItShows(t *testing.T) {
	b, c := newBrowser(t)
	logins := gestorv1connect.NewLoginServiceClient(c.HTTP, c.URL, c.Options()...)
	hash := make([]byte, 32)
	asked, err := logins.BeginLogin(t.Context(), &gestorv1.BeginLoginRequest{SecretHash: hash, Computer: "laptop <b>"})
	if err != nil {
		t.Fatal(err)
	}
	page, err := url.Parse(asked.GetUrl())
	if err != nil {
		t.Fatal(err)
	}
	res, _ := b.get(page.RequestURI())
	if res.Request.URL.Path != "/signin" {
		t.Fatalf("a stranger is at %s", res.Request.URL)
	}
	_, body := b.signIn(page.RequestURI())
	wants(t, body, asked.GetCode(), "laptop &lt;b&gt;", anasEmail)
	request := regexp.MustCompile(`name="request" value="([^"]+)"`).FindStringSubmatch(body)
	if request == nil {
		t.Fatal(body)
	}
	_, body = b.post("/approve", "same-origin", url.Values{"request": {request[1]}})
	wants(t, body, "The terminal is signed in")
	_, body = b.post("/approve", "same-origin", url.Values{"request": {request[1]}})
	wants(t, body, "approved already")
	_, body = b.post("/approve", "same-origin", url.Values{"request": {request[1][:len(request[1])-2] + "AA"}})
	wants(t, body, "no request of this installation")
}
