package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/saas-gestor/gestor/e2e/stack"
)

const adminEmail = "admin@example.com"

// startForBrowsers runs a server that is reached by a name, as passkeys want it, and that may reach providers here.
func startForBrowsers(t *testing.T) (*world, string) {
	t.Helper()
	port := freePort(t)
	base := fmt.Sprintf("https://localhost:%d", port)
	t.Setenv("GESTOR_PUBLIC_URL", base)
	return startWith(t, stack.Options{Port: port, Settings: "[outgoing]\nallow = [\"127.0.0.0/8\"]\n"}), base
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (w *world) adminPassword() string {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.Dir, "admin-password"))
	must(w.t, err)
	return string(raw)
}

func TestBrowser_APasskeySignsInAloneAndAsSecondFactor(t *testing.T) {
	w, base := startForBrowsers(t)
	c := openChrome(t, base)
	c.open("/")
	c.sees("Sign in", "Use a passkey")
	c.picture("signin")
	c.signIn(adminEmail, "a wrong password")
	c.sees("The e-mail address or the password is wrong")
	c.picture("signin-wrong")
	c.signIn(adminEmail, w.adminPassword())
	c.sees("Your account", adminEmail)
	c.picture("account")
	c.fill(`form[action="/passkeys"]`, "name", "My laptop")
	c.press(`form[action="/passkeys"]`)
	c.sees("Recovery codes", "I have kept them")
	c.picture("account-codes")
	c.open("/")
	c.sees("My laptop")
	c.picture("account-passkey")
	c.press(`form[action="/signout"]`)
	c.sees("Forgot your password?")

	c.press(`form[data-passkey="begin"]`)
	c.sees("Your account", adminEmail)
	c.press(`form[action="/signout"]`)
	c.sees("Forgot your password?")

	c.signIn(adminEmail, w.adminPassword())
	c.sees("Second factor")
	c.picture("factor")
	c.press(`form[data-passkey="get"]`)
	c.sees("Your account", adminEmail)
}

func TestBrowser_ApprovesATerminal(t *testing.T) {
	w, base := startForBrowsers(t)
	c := openChrome(t, base)
	c.signIn(adminEmail, w.adminPassword())
	c.sees("Your account")
	link, code, ended := w.loginByBrowser()
	c.open(link)
	c.sees("Sign a terminal in?", code)
	c.picture("approve")
	c.press(`form[action="/approve"]`)
	c.sees("The terminal is signed in")
	c.picture("approved")
	if out := <-ended; !strings.Contains(out, adminEmail) {
		t.Errorf("the terminal says %q", out)
	}
}

// loginByBrowser begins to sign a terminal in, and returns what it says and, later, all it said.
func (w *world) loginByBrowser() (link, code string, ended <-chan string) {
	w.t.Helper()
	pin, err := os.ReadFile(filepath.Join(w.Servers[0].DataDir, "server-root.pin"))
	must(w.t, err)
	cmd := w.Command(w.t.Context(), "login", w.URL, "--browser", "--pin", strings.TrimSpace(string(pin)))
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+w.t.TempDir())
	r, pipe, err := os.Pipe()
	must(w.t, err)
	cmd.Stdout, cmd.Stderr = pipe, pipe
	must(w.t, cmd.Start())
	must(w.t, pipe.Close())
	said := make([]byte, 0, 4096)
	asked := regexp.MustCompile(`(https://\S+/approve\?request=\S+)[\s\S]*code (\S{4}-\S{4})`)
	for asked.FindSubmatch(said) == nil {
		some := make([]byte, 1024)
		n, err := r.Read(some)
		if err != nil {
			w.t.Fatalf("the terminal says %q: %v", said, err)
		}
		said = append(said, some[:n]...)
	}
	found := asked.FindSubmatch(said)
	done := make(chan string, 1)
	go func() {
		rest, _ := io.ReadAll(r)
		_ = cmd.Wait()
		_ = r.Close()
		done <- string(rest)
	}()
	return string(found[1]), string(found[2]), done
}

func TestBrowser_FollowsLinksWhoseSecretNoServerSees(t *testing.T) {
	w, base := startForBrowsers(t)
	link := query[struct {
		Link struct {
			Link string `json:"link"`
		} `json:"link"`
	}](w, "users", "invite", "bia@example.com", "--role", "developer").Link.Link
	c := openChrome(t, base)
	c.open(link)
	c.sees("You are invited")
	c.picture("invite")
	c.noSecretIn("an invitation")
	c.fill(`form[action="/invite"]`, "name", "Bia", "password", "shorter words here", "repeat", "other words here")
	c.press(`form[action="/invite"]`)
	c.sees("The two passwords are not the same")
	c.fill(`form[action="/invite"]`, "name", "Bia", "password", "the boat by the old pier", "repeat", "the boat by the old pier")
	c.press(`form[action="/invite"]`)
	c.sees("Done. Sign in")
	c.picture("invited")
	c.signIn("bia@example.com", "the boat by the old pier")
	c.sees("Your account", "bia@example.com")

	link = query[struct {
		Link string `json:"link"`
	}](w, "users", "reset-password", "bia@example.com").Link
	c.open(link)
	c.sees("Set a new password")
	c.picture("reset")
	c.noSecretIn("a link")
	c.fill(`form[action="/reset"]`, "password", "a pier without any boat", "repeat", "a pier without any boat")
	c.press(`form[action="/reset"]`)
	c.sees("Your password is set")
	c.open("/")
	c.sees("Sign in") // the session has ended
	c.signIn("bia@example.com", "a pier without any boat")
	c.sees("Your account")
	c.open(link)
	c.fill(`form[action="/reset"]`, "password", "one more time with it", "repeat", "one more time with it")
	c.press(`form[action="/reset"]`)
	c.sees("The link is not valid any more")
	c.open("/forgotten")
	c.picture("forgotten")
	c.open("/confirm#x")
	c.picture("confirm")
}

// noSecretIn checks that the secret of a link is gone from the address.
func (c *chrome) noSecretIn(what string) {
	c.t.Helper()
	at := c.reads("location.href")
	if strings.Contains(at, "#") {
		c.t.Errorf("the secret of %s stays in the address: %s", what, at)
	}
}

func TestBrowser_SignsInThroughTheCompany(t *testing.T) {
	w, base := startForBrowsers(t)
	idp := startProvider(t, base)
	w.addProvider(idp, "--create-users")
	c := openChrome(t, base)
	c.open("/signin")
	c.sees("Use your company's sign-in")
	c.picture("signin-company")
	c.company("dora@firm.example")
	c.loginThere("dora")
	c.sees("Your account", "dora@firm.example")
	jar, err := chromedp.Run(c.ctx, func(ctx context.Context, tab *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, tab, network.GetCookies, network.GetCookiesParams{})
	})
	must(t, err)
	for _, k := range jar.Cookies {
		if k.Name == "__Host-gestor-oidc" {
			t.Error("the cookie of the sign-in stays")
		}
		if k.Name == "__Host-gestor" && (!k.HTTPOnly || !k.Secure || k.SameSite != network.CookieSameSiteLax) {
			t.Errorf("the session's cookie is %+v", k)
		}
	}
	c.press(`form[action="/signout"]`)
	c.sees("Forgot your password?")
	c.company("nobody@other.example")
	c.sees("There is no company sign-in for other.example here")
	c.picture("company-unknown")
	c.company("eve@firm.example")
	c.loginThere("eve") // whose address is not verified there
	c.sees("has not verified your address")
	c.picture("company-unverified")
}

// company asks for the company's sign-in.
func (c *chrome) company(email string) {
	c.t.Helper()
	c.open("/signin")
	c.fill(`form[action="/oidc/start"]`, "email", email)
	c.press(`form[action="/oidc/start"]`)
}

// loginThere signs in at the provider.
func (c *chrome) loginThere(name string) {
	c.t.Helper()
	c.sees("Username:")
	c.fill(`form[action="/login/username"]`, "username", name, "password", idpPassword)
	c.press(`form[action="/login/username"]`)
}

func TestBrowser_PagesReadInPortuguese(t *testing.T) {
	w, base := startForBrowsers(t)
	idp := startProvider(t, base)
	w.addProvider(idp)
	c := openChrome(t, base)
	c.speaks("pt-BR,pt;q=0.9")
	c.open("/signin")
	c.sees("Entrar", "Usar uma chave de acesso")
	c.picture("pt-signin")
	c.signIn(adminEmail, "a wrong password")
	c.sees("O e-mail ou a senha está errado")
	c.picture("pt-signin-wrong")
	c.company("nobody@other.example")
	c.sees("Não há acesso de empresa")
	c.open("/forgotten")
	c.sees("Enviar o link")
	c.picture("pt-forgotten")
	c.open("/reset#no")
	c.fill(`form[action="/reset"]`, "password", "one more time with it", "repeat", "one more time with it")
	c.press(`form[action="/reset"]`)
	c.sees("O link não vale mais")
	c.picture("pt-reset-bad")
	c.signIn(adminEmail, w.adminPassword())
	c.sees("Sua conta")
	c.picture("pt-account")
	link, _, _ := w.loginByBrowser()
	c.open(link)
	c.sees("Autorizar")
	c.picture("pt-approve")
}
