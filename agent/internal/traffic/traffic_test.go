package traffic

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

func newNginx(t *testing.T) *Nginx {
	t.Helper()
	dir, err := os.MkdirTemp("", "gt") //nolint:usetesting // short: a socket's path is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), Options{Mode: Managed, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// backend answers with its name and what it was sent; a request to /slow is told, and waits.
func backend(t *testing.T, name string, slow chan struct{}) int {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			slow <- struct{}{}
			<-slow
		}
		_, _ = fmt.Fprintf(w, "%s %s %s", name, r.Host, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, port int, path string) string {
	t.Helper()
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

func apply(t *testing.T, n *Nginx, s Site) bool {
	t.Helper()
	changed, err := n.Apply(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestCheck_RefusesWhatCouldMeanSomethingToNginx(t *testing.T) {
	good := Site{App: "shop", Port: 80, Base: "/home/deploy/shop/current", WebRoot: "dist", Domains: []string{"shop.example.com", "*.example.com"}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Site){
		"app with brace":     func(s *Site) { s.App = "a}" },
		"app with path":      func(s *Site) { s.App = "../a" },
		"domain and more":    func(s *Site) { s.Domains = []string{"a; return 200 'x'"} },
		"domain with line":   func(s *Site) { s.Domains = []string{"a.b\nc"} },
		"domain as pattern":  func(s *Site) { s.Domains = []string{"~.*"} },
		"domain variable":    func(s *Site) { s.Domains = []string{"$host"} },
		"domain upper case":  func(s *Site) { s.Domains = []string{"A.b"} },
		"empty domain":       func(s *Site) { s.Domains = []string{""} },
		"root with space":    func(s *Site) { s.Base = "/a b" },
		"root with variable": func(s *Site) { s.Base = "/a/$uri" },
		"root with dots":     func(s *Site) { s.Base = "/a/../etc" },
		"relative root":      func(s *Site) { s.Base = "a" },
		"folder with dots":   func(s *Site) { s.WebRoot = "../.." },
		"absolute folder":    func(s *Site) { s.WebRoot = "/etc" },
		"folder with quote":  func(s *Site) { s.WebRoot = `a"b` },
		"port 0":             func(s *Site) { s.Port = 0 },
		"port too large":     func(s *Site) { s.Port = 65536 },
		"both":               func(s *Site) { s.Upstream = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			change(&s)
			if _, err := renderSite(s, "/logs"); fault.KindOf(err) != fault.KindInvalid {
				t.Errorf("got %v, want invalid", err)
			}
		})
	}
}

func TestApply_SwitchesBetweenProgramsAndWaitsForTheOldRequests(t *testing.T) {
	n := newNginx(t)
	wait := make(chan struct{})
	s := Site{App: "shop", Port: freePort(t), Upstream: backend(t, "one", wait)}
	if !apply(t, n, s) || apply(t, n, s) {
		t.Error("the same site twice counts as a change, or the first does not")
	}
	want := fmt.Sprintf("one 127.0.0.1:%d 127.0.0.1", s.Port)
	if got := get(t, s.Port, "/"); got != want {
		t.Errorf("answer is %q, want %q", got, want)
	}
	slow := make(chan string, 1)
	go func() { slow <- get(t, s.Port, "/slow") }()
	<-wait // it is under way
	s.Upstream = backend(t, "two", nil)
	apply(t, n, s)
	for range 20 {
		if got := get(t, s.Port, "/"); !strings.HasPrefix(got, "two ") {
			t.Fatalf("answer is %q", got)
		}
	}
	if drained, err := n.Drain(t.Context(), 50*time.Millisecond); drained || err != nil {
		t.Errorf("drained %v, %v, with a request under way", drained, err)
	}
	close(wait)
	if got := <-slow; !strings.HasPrefix(got, "one ") {
		t.Errorf("the slow request got %q", got)
	}
	if drained, err := n.Drain(t.Context(), 10*time.Second); !drained || err != nil {
		t.Errorf("drained %v, %v", drained, err)
	}
}

func TestApply_KeepsTheLastGoodConfiguration(t *testing.T) {
	n := newNginx(t)
	s := Site{App: "shop", Port: freePort(t), Upstream: backend(t, "one", nil)}
	apply(t, n, s)
	before, err := n.generation()
	if err != nil {
		t.Fatal(err)
	}
	logs := n.o.LogDir
	n.o.LogDir = filepath.Join(n.o.Dir, "not", "there") // nginx refuses a log it cannot open
	bad := Site{App: "other", Port: freePort(t), Upstream: 1}
	if _, err := n.Apply(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "nginx does not take the configuration") {
		t.Errorf("got %v", err)
	}
	n.o.LogDir = logs
	if after, err := n.generation(); err != nil || after != before {
		t.Errorf("generation was %d, is %d, %v", before, after, err)
	}
	if got := get(t, s.Port, "/"); !strings.HasPrefix(got, "one ") {
		t.Errorf("answer is %q", got)
	}
	apply(t, n, bad)
	if err := n.Remove(t.Context(), "other"); err != nil {
		t.Error(err)
	}
}

func TestApply_RefusesWhatAnotherAppHas(t *testing.T) {
	n := newNginx(t)
	port := freePort(t)
	apply(t, n, Site{App: "one", Port: port, Upstream: 1})
	apply(t, n, Site{App: "two", Port: port, Upstream: 1, Domains: []string{"two.example.com"}})
	for _, s := range []Site{
		{App: "three", Port: port, Upstream: 1},
		{App: "three", Port: port, Upstream: 1, Domains: []string{"x.example.com", "two.example.com"}},
	} {
		if _, err := n.Apply(t.Context(), s); fault.KindOf(err) != fault.KindConflict {
			t.Errorf("got %v, want a conflict", err)
		}
	}
}

func TestOpen_FindsARunningNginxAndStartsOneThatWasKilled(t *testing.T) {
	n := newNginx(t)
	s := Site{App: "shop", Port: freePort(t), Upstream: backend(t, "one", nil)}
	apply(t, n, s)
	first, err := n.master()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), n.o)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.master(); err != nil || second != first {
		t.Errorf("nginx was %d, is %d, %v", first, second, err)
	}
	left := workers(first)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, w := range left {
		_ = syscall.Kill(w.pid, syscall.SIGKILL)
	}
	gone := func() bool { _, err := n.master(); return err != nil }
	if err := poll(t.Context(), time.Millisecond, gone); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), n.o); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s.Port, "/"); !strings.HasPrefix(got, "one ") {
		t.Errorf("answer is %q", got)
	}
}

func TestStatic_FollowsNoLinkOfAnotherOwner(t *testing.T) {
	n := newNginx(t)
	root := filepath.Join(n.o.Dir, "app")
	if err := os.MkdirAll(filepath.Join(root, "rel"), 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(root, "secret")
	for path, text := range map[string]string{secret: "secret", filepath.Join(root, "rel/own"): "own"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"current": "rel", "rel/good": "own", "rel/bad": "../secret"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Lchown(filepath.Join(root, "rel/bad"), 61970, 61970); err != nil {
		t.Fatal(err)
	}
	s := Site{App: "shop", Port: freePort(t), Base: filepath.Join(root, "current")}
	apply(t, n, s)
	if got := get(t, s.Port, "/good"); got != "own" {
		t.Errorf("an own link shows %q", got)
	}
	if got := get(t, s.Port, "/bad"); strings.Contains(got, "secret") {
		t.Errorf("a foreign link shows %q", got)
	}
}
