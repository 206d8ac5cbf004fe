package source

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// TestMain also is the init of the sandbox.
func TestMain(m *testing.M) {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const testUID = 71235

type rig struct {
	git *Git
	dir string
	n   int
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "gestor-source-") //nolint:usetesting // every user must be able to pass through
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	host, err := process.New(process.Options{Dir: filepath.Join(dir, "process"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	o.Dir, o.Sandbox = filepath.Join(dir, "git"), host.Sandbox()
	o.Policy.LocalPrefixes = []string{filepath.Join(dir, "repos")}
	git, err := Open(o)
	must(t, err)
	return &rig{git: git, dir: dir}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repo makes a repository with one commit, a tag and branches with names that a shell would run.
func (r *rig) repo(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(r.dir, "repos", "one")
	must(t, os.MkdirAll(dir, 0o755))
	run(t, dir, "git", "init", "-q", "-b", "main")
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("first"), 0o644))
	run(t, dir, "git", "add", "-A")
	run(t, dir, "git", "commit", "-q", "-m", "the first")
	run(t, dir, "git", "tag", "-a", "v1", "-m", "one")
	run(t, dir, "git", "branch", "$(id)")
	run(t, dir, "git", "branch", "a;b")
	run(t, dir, "git", "branch", "feature/login")
	return dir
}

func (r *rig) fetch(ctx context.Context, t *testing.T, s *agentv1.Source, key []byte) (Commit, string, error) {
	t.Helper()
	r.n++
	into := filepath.Join(r.dir, fmt.Sprintf("into%d", r.n))
	must(t, os.Mkdir(into, 0o700))
	must(t, os.Lchown(into, testUID, testUID))
	commit, err := r.git.Fetch(ctx, Request{
		Name: fmt.Sprintf("tsk_%d", r.n), Owner: "app_1", UID: testUID, Source: s, Key: key, Into: into, FindBranch: true,
	})
	if left, _ := os.ReadDir(r.git.scratch()); len(left) != 0 {
		t.Errorf("left in the scratch folder: %v", left)
	}
	return commit, into, err
}

func TestFetch_TakesBranchesTagsAndCommitsWhateverTheirNames(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	head := run(t, repo, "git", "rev-parse", "HEAD")
	for _, ref := range []string{"", "main", "v1", head, "$(id)", "a;b", "feature/login"} {
		commit, into, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo, Ref: ref}, nil)
		if err != nil {
			t.Fatalf("%q: %v", ref, err)
		}
		if commit.Hash != head || commit.Subject != "the first" || commit.Author != "Ada" || (ref == "" && commit.Branch != "main") {
			t.Errorf("%q: got %+v", ref, commit)
		}
		if entries, _ := os.ReadDir(into); len(entries) != 1 || entries[0].Name() != "file" {
			t.Errorf("%q: the tree holds %v", ref, entries)
		}
	}
}

func TestFetch_FollowsTheBranchAndHealsADamagedMirror(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	s := &agentv1.Source{Repository: repo, Ref: "main"}
	_, _, err := r.fetch(t.Context(), t, s, nil)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(repo, "file"), []byte("second"), 0o644))
	run(t, repo, "git", "commit", "-q", "-a", "-m", "the second")
	mirrors, _ := filepath.Glob(filepath.Join(r.dir, "git/mirrors/*/*"))
	if len(mirrors) != 1 {
		t.Fatalf("mirrors: %v", mirrors)
	}
	for _, damage := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(filepath.Join(mirrors[0], "shallow.lock"), nil, 0o600) },
		func() error { return os.WriteFile(filepath.Join(mirrors[0], "config"), []byte("[["), 0o600) },
		func() error { return os.Remove(filepath.Join(mirrors[0], "HEAD")) },
	} {
		must(t, damage())
		_, into, err := r.fetch(t.Context(), t, s, nil)
		must(t, err)
		if b, _ := os.ReadFile(filepath.Join(into, "file")); string(b) != "second" {
			t.Errorf("file is %q", b)
		}
	}
}

func TestFetch_NamesRefsThatWerePerhapsMeant(t *testing.T) {
	r := newRig(t, Options{})
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: r.repo(t), Ref: "feature/logn"}, nil)
	if !errors.Is(err, fault.KindNotFound) || !strings.Contains(err.Error(), "did you mean feature/login") {
		t.Fatalf("got %v", err)
	}
}

func TestFetch_RefusesBadAddressesAndRefs(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	tests := map[string]*agentv1.Source{
		"leading dash":      {Repository: "--upload-pack=touch /tmp/pwned"},
		"ext":               {Repository: "ext::sh -c id"},
		"ext without space": {Repository: "ext::id"},
		"file":              {Repository: "file:///etc"},
		"http":              {Repository: "http://example.com/x"},
		"git":               {Repository: "git://example.com/x"},
		"password":          {Repository: "https://a:b@example.com/x"},
		"no host":           {Repository: "https:///x"},
		"dash host":         {Repository: "ssh://-oProxyCommand=id/x"},
		"dash scp host":     {Repository: "git@-oProxyCommand=id:x"},
		"dash path":         {Repository: "git@example.com:-x"},
		"line break":        {Repository: "https://example.com/x\ny"},
		"not allowed path":  {Repository: "/etc"},
		"out of the prefix": {Repository: r.dir + "/repos/../git"},
		"relative":          {Repository: "../x"},
		"loopback":          {Repository: "https://127.0.0.1/x"},
		"metadata":          {Repository: "https://169.254.169.254/x"},
		"loopback 6":        {Repository: "ssh://git@[::1]/x"},
		"dash ref":          {Repository: repo, Ref: "--upload-pack=id"},
		"refspec":           {Repository: repo, Ref: "main:refs/heads/x"},
		"plus":              {Repository: repo, Ref: "+main"},
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := r.fetch(t.Context(), t, s, nil)
			if !errors.Is(err, fault.KindInvalid) && !errors.Is(err, fault.KindDenied) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestFetch_TellsMissingRepositoriesFromLogins(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/private") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	ca := filepath.Join(os.TempDir(), fmt.Sprintf("gestor-ca-%d.pem", os.Getpid())) //nolint:usetesting // git reads it as the app's user
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644))
	t.Cleanup(func() { _ = os.Remove(ca) })
	u, _ := url.Parse(server.URL)
	r := newRig(t, Options{CAFile: ca, Policy: Policy{PrivateHosts: []string{u.Hostname()}}})
	for path, kind := range map[string]fault.Kind{"/private/x": fault.KindDenied, "/missing/x": fault.KindNotFound} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, _, err := r.fetch(ctx, t, &agentv1.Source{Repository: server.URL + path}, nil)
		cancel()
		if !errors.Is(err, kind) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	server.Close()
	if _, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: server.URL + "/x"}, nil); !task.IsRetryable(err) {
		t.Errorf("a host that is down: %v", err)
	}
}

func TestFetch_NeedsKnownHostsForSSHAndSaysHowToGetThem(t *testing.T) {
	r := newRig(t, Options{Policy: Policy{PrivateHosts: []string{"127.0.0.1"}}})
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: "ssh://git@127.0.0.1:2222/x"}, []byte("key"))
	if !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "ssh-keyscan -p 2222 127.0.0.1") {
		t.Fatalf("got %v", err)
	}
}
