package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// keep keeps the tree that was fetched into a folder.
func (r *rig) keep(repo, into string) {
	r.git.Keep(Request{Owner: "app_1", UID: testUID, Source: &agentv1.Source{Repository: repo}, Into: into})
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path[len(dir)+1:]] = string(b)
		return err
	}))
	return all
}

func same(a, b map[string]string) bool {
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestFetch_ChangesAKeptTreeIntoTheNext(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	put(t, filepath.Join(repo, "stays"), "as it is")
	put(t, filepath.Join(repo, "goes/away"), "soon")
	put(t, filepath.Join(repo, "tampered"), "right")
	run(t, repo, "git", "add", "-A")
	run(t, repo, "git", "commit", "-q", "-m", "second")
	_, first, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
	before, err := os.Stat(filepath.Join(first, "stays"))
	must(t, err)
	put(t, filepath.Join(first, "tampered"), "wrong")
	r.keep(repo, first)

	must(t, os.RemoveAll(filepath.Join(repo, "goes")))
	put(t, filepath.Join(repo, "file"), "changed")
	put(t, filepath.Join(repo, "goes"), "is a file now")
	run(t, repo, "git", "add", "-A")
	run(t, repo, "git", "commit", "-q", "-m", "third")
	commit, second, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
	want := map[string]string{"file": "changed", "stays": "as it is", "goes": "is a file now", "tampered": "right"}
	if got := files(t, second); !same(got, want) || commit.Subject != "third" {
		t.Errorf("at %q there are %v, want %v", commit.Subject, got, want)
	}
	if after, err := os.Stat(filepath.Join(second, "stays")); err != nil || !os.SameFile(before, after) {
		t.Errorf("what did not change was written again: %v", err)
	}
}

func TestFetch_NeedsNothingOfWhatIsKept(t *testing.T) {
	for name, spoil := range map[string]func(k kept) error{
		"nothing":       func(kept) error { return nil },
		"no tree":       func(k kept) error { return os.RemoveAll(k.tree()) },
		"no index":      func(k kept) error { return os.Remove(k.index()) },
		"damaged index": func(k kept) error { return os.Truncate(k.index(), 20) },
		"empty tree": func(k kept) error {
			return os.Remove(filepath.Join(k.tree(), "file"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			repo := r.repo(t)
			_, first, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
			must(t, err)
			r.keep(repo, first)
			addr, err := ParseAddress(repo, r.git.o.Policy)
			must(t, err)
			k := r.git.mirror("app_1", addr).kept()
			if _, err := os.Stat(k.index()); err != nil {
				t.Fatalf("nothing was kept: %v", err)
			}
			must(t, spoil(k))
			_, second, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
			must(t, err)
			if got := files(t, second); !same(got, map[string]string{"file": "first"}) {
				t.Errorf("there are %v", got)
			}
		})
	}
}

func TestFetch_SaysWhatToInstallWhenTheHostHasNoGit(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	r.git.path = t.TempDir()
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	if fault.KindOf(err) != fault.KindUnavailable || !strings.Contains(fmt.Sprint(err), "install the package git") {
		t.Errorf("got %v", err)
	}
}

// mirrors are the files and folders that are kept for all owners.
func (r *rig) mirrors(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(r.git.o.Dir, "mirrors/*/*"))
	must(t, err)
	return all
}

func TestForget_RemovesMirrorAndTree(t *testing.T) {
	r := newRig(t, Options{})
	repo := r.repo(t)
	_, first, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
	r.keep(repo, first)
	must(t, r.git.Forget("app_2"))
	if got := r.mirrors(t); len(got) != 2 {
		t.Fatalf("kept are %v, want a mirror and a tree", got)
	}
	must(t, r.git.Forget("app_1"))
	if got := r.mirrors(t); len(got) != 0 {
		t.Errorf("still there are %v", got)
	}
	_, _, err = r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
}

func TestKeep_DropsWhatIsOverTheBudget(t *testing.T) {
	r := newRig(t, Options{KeepBytes: 1})
	repo := r.repo(t)
	_, first, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
	if got := r.mirrors(t); len(got) != 0 {
		t.Errorf("after the fetch there are %v", got)
	}
	r.keep(repo, first)
	if got := r.mirrors(t); len(got) != 0 {
		t.Errorf("after the tree was kept there are %v", got)
	}
}
