package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// chrome is a person's browser. What it complains of ends the test.
type chrome struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // a browser is driven by its context
	base string
	dir  string // where pictures go; empty for none

	mu         sync.Mutex
	complaints []string // guarded by mu
}

// pageTime is how long a page may take.
const pageTime = 20 * time.Second

// openChrome opens a browser with an empty profile and a key that it keeps passkeys in.
func openChrome(t *testing.T, base string) *chrome {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("the pages are tested in a real browser: %v; run scripts/setup.sh", err)
	}
	profile := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.IgnoreCertErrors, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Env("HOME="+profile, "XDG_CONFIG_HOME="+profile, "XDG_CACHE_HOME="+profile),
	)
	root, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, quit := chromedp.NewContext(root)
	c := &chrome{t: t, ctx: ctx, base: base, dir: os.Getenv("GESTOR_PICTURES")}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it is killed then
		quit()
		stop()
	})
	must(t, chromedp.Do(ctx)) // the first starts the browser, for as long as its context
	must(t, chromedp.Listen(ctx, c.listen))
	key := webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}
	c.do(call(log.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}), call(audits.Enable, cdp.Empty{}),
		call(webauthn.Enable, webauthn.EnableParams{}), call(webauthn.AddVirtualAuthenticator, key))
	return c
}

// call sends a command of the browser's protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// listen notes scripts that fail and what the content security policy keeps out.
func (c *chrome) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = "a script failed: " + e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			complaint = e.Entry.Text
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			complaint = fmt.Sprintf("the console says: %s", e.Args[0].Value)
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			complaint = fmt.Sprintf("the policy refused %s: %s", d.ContentSecurityPolicyIssueDetails.ViolatedDirective, d.ContentSecurityPolicyIssueDetails.BlockedURL)
		}
	}
	if complaint == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complaints = append(c.complaints, complaint)
}

// do does things one after the other.
func (c *chrome) do(actions ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := c.try(actions...); err != nil {
		c.fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, complaint := range c.complaints {
		c.t.Errorf("the browser complains: %s", complaint)
	}
	c.complaints = nil
}

// try does things as long as a page may take. The browser itself outlives that.
func (c *chrome) try(actions ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(c.ctx, pageTime)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

func (c *chrome) fail(err error) {
	c.t.Helper()
	at, text := c.reads("location.href"), c.reads("document.body.innerText")
	c.t.Fatalf("%v; the browser is at %s:\n%s", err, at, text)
}

// reads is what an expression of the page gives, as text.
func (c *chrome) reads(expression string) string {
	ctx, cancel := context.WithTimeout(c.ctx, pageTime)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return err.Error()
	}
	return text
}

// open goes to a page of the server, or to another address.
func (c *chrome) open(path string) {
	c.t.Helper()
	if !strings.Contains(path, "://") {
		path = c.base + path
	}
	c.do(chromedp.Navigate(path))
}

// fill types into fields, by their names.
func (c *chrome) fill(form string, fields ...string) {
	c.t.Helper()
	for i := 0; i < len(fields); i += 2 {
		at := form + ` [name="` + fields[i] + `"]`
		c.do(chromedp.WaitVisible(chromedp.CSS(at)))
		c.reads(fmt.Sprintf(`document.querySelector(%q).value = ""`, at))
		c.do(chromedp.SendKeys(chromedp.CSS(at), fields[i+1]))
	}
}

// press presses the button of a form.
func (c *chrome) press(form string) {
	c.t.Helper()
	button := chromedp.CSS(form + " button")
	c.do(chromedp.WaitVisible(button), chromedp.Click(button))
}

// sees waits until the page shows a text.
func (c *chrome) sees(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		has := fmt.Sprintf(`document.body && document.body.innerText.includes(%q)`, text)
		err := stack.Poll(within(c.t), fmt.Sprintf("the page to show %q", text), func(context.Context) (bool, error) {
			ctx, cancel := context.WithTimeout(c.ctx, pageTime)
			defer cancel()
			shown, err := chromedp.Run(ctx, chromedp.Evaluate[bool](has))
			return shown && err == nil, nil // a page that is leaving has no answer
		})
		if err != nil {
			c.fail(err)
		}
	}
	c.do()
}

// within is as long as a page may take.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageTime)
	t.Cleanup(cancel)
	return ctx
}

// signIn signs in with a password, from wherever the browser is.
func (c *chrome) signIn(email, password string) {
	c.t.Helper()
	c.open("/signin")
	c.fill(`form[action="/signin"]`, "email", email, "password", password)
	c.press(`form[action="/signin"]`)
}

// looks is a way to look at a page.
type looks struct {
	name string
	dark bool
	wide int64
}

// picture keeps what the page looks like, if somebody wants to see it.
func (c *chrome) picture(name string) {
	c.t.Helper()
	if c.dir == "" {
		return
	}
	for _, l := range []looks{{"light", false, 900}, {"dark", true, 900}, {"phone", false, 360}} {
		scheme := "light"
		if l.dark {
			scheme = "dark"
		}
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		c.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}), chromedp.EmulateViewport(l.wide, 760))
		png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
		must(c.t, err)
		must(c.t, os.WriteFile(filepath.Join(c.dir, name+"-"+l.name+".png"), png, 0o600))
	}
	c.do(chromedp.EmulateViewport(900, 760))
}

// speaks has the browser prefer a language.
func (c *chrome) speaks(lang string) {
	c.t.Helper()
	headers := network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": lang}}
	c.do(call(network.Enable, network.EnableParams{}), call(network.SetExtraHTTPHeaders, headers))
}
