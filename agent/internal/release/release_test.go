package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
)

const testUID = 61980

var app = App{Slug: "shop", UID: testUID}

// TestMain also is a program that activates a release and kills itself at one step.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "die-at" {
		dieAt(os.Args[2], os.Args[3])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func dieAt(root, step string) {
	d, err := Open(root, app)
	if err != nil {
		os.Exit(2)
	}
	d.step = func(name string) {
		if name == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, err := d.Prepare(Info{Name: "r2", Digest: "d2"}, []string{"uploads"}, content("two")); err != nil {
		os.Exit(3)
	}
	if err := d.Activate("r2", 2); err != nil {
		os.Exit(4)
	}
}

func content(text string) func(*os.Root) error {
	return func(r *os.Root) error { return r.WriteFile("index.html", []byte(text), 0o666) }
}

func open(t *testing.T, root string) *Dir {
	t.Helper()
	d, err := Open(root, app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func put(t *testing.T, d *Dir, name, text string, fence uint64) {
	t.Helper()
	if _, err := d.Prepare(Info{Name: name, Digest: "d-" + text}, nil, content(text)); err != nil {
		t.Fatal(err)
	}
	if err := d.Activate(name, fence); err != nil {
		t.Fatal(err)
	}
}

func live(t *testing.T, d *Dir) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.CurrentPath(), "index.html"))
	if err != nil {
		t.Fatalf("the live release is broken: %v", err)
	}
	return string(b)
}

func TestActivate_IsOldOrNewWhereverItIsKilled(t *testing.T) {
	for _, step := range []string{"fill", "link", "sync", "rename", "mark", "fence", "link new", "rename link", "sync link", "never"} {
		t.Run(step, func(t *testing.T) {
			root := t.TempDir()
			d := open(t, root)
			put(t, d, "r1", "one", 1)
			out, err := exec.CommandContext(t.Context(), "/proc/self/exe", "die-at", root, step).CombinedOutput()
			if killed := err != nil && strings.Contains(err.Error(), "killed"); killed == (step == "never") {
				t.Fatalf("it ended with %v: %s", err, out)
			}
			got := live(t, d)
			if want := map[bool]string{true: "two", false: "one"}[step == "sync link" || step == "never"]; got != want {
				t.Errorf("live is %q, want %q", got, want)
			}
			for _, info := range must(d.List())(t) {
				if _, err := os.Stat(filepath.Join(d.ReleasePath(info.Name), "index.html")); err != nil {
					t.Errorf("release %s counts as complete: %v", info.Name, err)
				}
			}
			// The same work again comes through.
			if out, err := exec.CommandContext(t.Context(), "/proc/self/exe", "die-at", root, "never").CombinedOutput(); err != nil {
				t.Fatalf("again: %v: %s", err, out)
			}
			if got := live(t, d); got != "two" {
				t.Errorf("live is %q after all", got)
			}
		})
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestActivate_RefusesAnOlderFenceAlsoFromAnotherAgent(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	put(t, d, "r1", "one", 5)
	put(t, d, "r2", "two", 9)
	if err := open(t, root).Activate("r1", 8); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	if got := live(t, d); got != "two" {
		t.Errorf("live is %q", got)
	}
	if err := d.Activate("r1", 9); err != nil {
		t.Errorf("the same fence: %v", err)
	}
}

func TestPrepare_LeavesNothingWhenFillingFails(t *testing.T) {
	d := open(t, t.TempDir())
	bad := errors.New("bad artifact")
	if _, err := d.Prepare(Info{Name: "r1"}, nil, func(*os.Root) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(d.Path(), "releases", "*r1*"))
	hidden, _ := filepath.Glob(filepath.Join(d.Path(), "releases", ".*r1*"))
	if len(left)+len(hidden) > 0 || len(must(d.List())(t)) > 0 {
		t.Errorf("left are %s %s", left, hidden)
	}
	if err := d.Activate("r1", 1); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("activate says %v", err)
	}
}

func TestPrepare_IsIdempotentAndRefusesOtherContent(t *testing.T) {
	d := open(t, t.TempDir())
	put(t, d, "r1", "one", 1)
	never := func(*os.Root) error { t.Error("it was filled again"); return nil }
	if already, err := d.Prepare(Info{Name: "r1", Digest: "d-one"}, nil, never); err != nil || !already {
		t.Errorf("again: %v, %v", already, err)
	}
	if _, err := d.Prepare(Info{Name: "r1", Digest: "other"}, nil, never); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("other content: %v", err)
	}
}

func TestPrepare_FailsOnAFullDiskAndKeepsTheLiveRelease(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	d := open(t, root)
	put(t, d, "r1", "one", 1)
	_, err := d.Prepare(Info{Name: "r2"}, nil, func(r *os.Root) error { return r.WriteFile("big", make([]byte, 4<<20), 0o600) })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if got := live(t, d); got != "one" {
		t.Errorf("live is %q", got)
	}
	put(t, d, "r3", "three", 2) // the staging directory was removed, so there is space again
}

func TestPrepare_OwnsTheTreeAndLinksWhatIsShared(t *testing.T) {
	d := open(t, t.TempDir())
	_, err := d.Prepare(Info{Name: "r1"}, []string{"uploads", "storage/app"}, func(r *os.Root) error {
		return errors.Join(r.WriteFile("run", nil, 0o777), r.Mkdir("uploads", 0o777), r.Chown("run", testUID, testUID))
	})
	if err != nil {
		t.Fatal(err)
	}
	info := must(os.Lstat(filepath.Join(d.ReleasePath("r1"), "run")))(t)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode().Perm() != 0o755 {
		t.Errorf("run belongs to %d, mode %s", st.Uid, info.Mode())
	}
	for _, p := range []string{"uploads", "storage/app"} {
		link := filepath.Join(d.ReleasePath("r1"), p)
		if got := must(filepath.EvalSymlinks(link))(t); got != filepath.Join(d.SharedPath(), p) {
			t.Errorf("%s leads to %s", p, got)
		}
		if st := must(os.Lstat(link))(t).Sys().(*syscall.Stat_t); st.Uid != testUID {
			t.Errorf("the link %s belongs to %d", p, st.Uid)
		}
	}
	if mode := must(os.Stat(filepath.Join(d.SharedPath(), "logs")))(t).Mode(); mode&fs.ModeSticky == 0 {
		t.Errorf("the app could replace its log: %s", mode)
	}
}

func TestPrune_KeepsTheLiveReleaseWhateverIsAsked(t *testing.T) {
	d := open(t, t.TempDir())
	for i, name := range []string{"r1", "r2", "r3", "r4"} {
		put(t, d, name, name, uint64(i+1))
	}
	if err := d.Activate("r2", 9); err != nil {
		t.Fatal(err)
	}
	removed, err := d.Prune([]string{"r4", "../../etc", "nothing"})
	slices.Sort(removed)
	if err != nil || !slices.Equal(removed, []string{"r1", "r3"}) {
		t.Errorf("removed %s, %v", removed, err)
	}
	if got := live(t, d); got != "r2" {
		t.Errorf("live is %q", got)
	}
	if got := must(os.ReadFile(filepath.Join(d.Path(), "releases/current/index.html")))(t); string(got) != "r2" {
		t.Errorf("the documented path shows %q", got)
	}
}

func TestWriteEnv_QuotesWhatAShellOrSystemdWouldTouch(t *testing.T) {
	d := open(t, t.TempDir())
	if err := d.WriteEnv("r1", map[string]string{"A": "x y $HOME \"q\"\nz", "B": `it's \n`}); err != nil {
		t.Fatal(err)
	}
	got := string(must(os.ReadFile(d.EnvFile("r1")))(t))
	if want := "A='x y $HOME \"q\"\nz'\nB=\"it's \\\\n\"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("file is %q, want %q", got, want)
	}
	info := must(os.Stat(d.EnvPath()))(t)
	if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o640 || st.Uid != 0 || st.Gid != testUID {
		t.Errorf("mode %s, owner %d:%d", info.Mode(), st.Uid, st.Gid)
	}
	for _, name := range []string{"", "a b", "A=B", "LD_PRELOAD", "PATH", "BASH_ENV", "é", "A\nB"} {
		if err := d.WriteEnv("r1", map[string]string{name: "x"}); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestOpen_FollowsNoLinkOutOfTheDeployRoot(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "shop")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, app); err == nil {
		t.Error("it went where the link leads")
	}
	for _, slug := range []string{"", "..", "a/b", "A", "-a", strings.Repeat("a", 29)} {
		if _, err := Open(root, App{Slug: slug, UID: testUID}); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("slug %q: got %v", slug, err)
		}
	}
}

func TestEnsureUser_IsIdempotentAndRefusesATakenUID(t *testing.T) {
	user := App{Slug: "gestor-test-user", UID: testUID}
	t.Cleanup(func() { _ = RemoveUser(t.Context(), user.Slug) })
	for range 2 {
		if err := EnsureUser(t.Context(), "/home/deploy", user); err != nil {
			t.Fatal(err)
		}
	}
	err := EnsureUser(t.Context(), "/home/deploy", App{Slug: "gestor-test-other", UID: testUID})
	if fault.KindOf(err) != fault.KindConflict || !strings.Contains(err.Error(), "app-gestor-test-user") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := RemoveUser(t.Context(), user.Slug); err != nil {
			t.Fatal(fmt.Errorf("remove: %w", err))
		}
	}
}
