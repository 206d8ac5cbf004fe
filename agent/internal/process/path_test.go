package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
)

// swapped is a directory of an app in which the app has put a link to another's tree in place of a directory.
func swapped(t *testing.T) (link, foreign string) {
	t.Helper()
	own, foreign := openDir(t), openDir(t)
	if err := os.MkdirAll(filepath.Join(foreign, "a"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(own, testUID, testUID); err != nil {
		t.Fatal(err)
	}
	link = filepath.Join(own, "storage")
	if err := os.Symlink(foreign, link); err != nil {
		t.Fatal(err)
	}
	return link, foreign
}

func TestRun_ShowsNothingBehindALinkOfTheApp(t *testing.T) {
	h := newHost(t, Namespaces)
	link, foreign := swapped(t)
	for name, change := range map[string]func(*Step){
		"writable":       func(s *Step) { s.Writable = append(s.Writable, link+"/a") },
		"read-only":      func(s *Step) { s.ReadOnly = append(s.ReadOnly, link+"/a") },
		"last component": func(s *Step) { s.Writable = append(s.Writable, link) },
	} {
		s := step(t, "touch "+foreign+"/a/seen")
		change(&s)
		exit, err := h.Sandbox().Run(t.Context(), s)
		if err == nil || !strings.Contains(err.Error(), "through a link") {
			t.Errorf("%s: got %+v, %v, want a refusal", name, exit, err)
		}
	}
	if _, err := os.Stat(filepath.Join(foreign, "a/seen")); err == nil {
		t.Error("the step wrote to a foreign tree")
	}
}

func TestCheckPaths_TellsALinkOfTheApp(t *testing.T) {
	link, foreign := swapped(t)
	if err := checkPaths([]string{foreign, filepath.Join(foreign, "a"), "/"}, []string{"/missing/x"}); err != nil {
		t.Error(err)
	}
	for _, p := range []string{link, link + "/a"} {
		if err := checkPaths(nil, []string{p}); fault.KindOf(err) != fault.KindConflict {
			t.Errorf("%s: got %v, want a conflict", p, err)
		}
	}
}

func TestResolveTrusted_FollowsLinksOfRootOnly(t *testing.T) {
	base, err := os.MkdirTemp("/var/lib", "gestor-test-") //nolint:usetesting // unlike /tmp nobody else may write there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	own := filepath.Join(base, "real", "own")
	for _, err := range []error{
		os.MkdirAll(own, 0o755), os.Symlink("real", base+"/link"), os.Symlink(base+"/link", base+"/again"), os.Symlink("loop", base+"/loop"),
		os.Symlink("/etc", own+"/etc"), os.Chown(own, testUID, testUID),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{base + "/again/own": own, base + "/link/own/etc": own + "/etc", "/": "/"} {
		if got, err := resolveTrusted(path); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", path, got, err, want)
		}
	}
	if _, err := resolveTrusted(base + "/loop"); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("a loop: got %v, want a conflict", err)
	}
}
