package source

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// bare makes a bare repository with one commit that holds files.
func (r *rig) bare(t *testing.T, name string, content map[string]string) string {
	t.Helper()
	work, dir := filepath.Join(r.dir, "work", name), filepath.Join(r.dir, "repos", name)
	for file, text := range content {
		put(t, filepath.Join(work, file), text)
	}
	run(t, work, "git", "init", "-q", "-b", "main")
	run(t, work, "git", "add", "-A")
	run(t, work, "git", "commit", "-q", "-m", "first")
	run(t, r.dir, "git", "clone", "-q", "--bare", work, dir)
	run(t, work, "git", "remote", "add", "origin", dir)
	return dir
}

// addSubmodule commits a submodule to a repository of bare, with an address as it shall be written in .gitmodules.
func (r *rig) addSubmodule(t *testing.T, in, target, at, written string) {
	t.Helper()
	work := filepath.Join(r.dir, "work", filepath.Base(in))
	head := run(t, target, "git", "rev-parse", "main")
	run(t, work, "git", "config", "-f", ".gitmodules", "submodule."+at+".path", at)
	run(t, work, "git", "config", "-f", ".gitmodules", "submodule."+at+".url", written)
	run(t, work, "git", "update-index", "--add", "--cacheinfo", "160000,"+head+","+at)
	run(t, work, "git", "add", ".gitmodules")
	run(t, work, "git", "commit", "-q", "-m", "submodule")
	run(t, work, "git", "push", "-q", "origin", "main")
}

func TestFetch_TakesSubmodulesAtAnyDepthButOnlyWhenAsked(t *testing.T) {
	r := newRig(t, Options{})
	deep := r.bare(t, "deep", map[string]string{"d": "deep"})
	lib := r.bare(t, "lib", map[string]string{"l": "lib"})
	r.addSubmodule(t, lib, deep, "vendor/deep", deep)
	app := r.bare(t, "app", map[string]string{"a": "app"})
	r.addSubmodule(t, app, lib, "lib", "../lib")

	_, into, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: app}, nil)
	must(t, err)
	if got := files(t, into); len(got) != 2 || got["a"] != "app" {
		t.Errorf("unasked there are %v", got)
	}
	want := map[string]string{"a": "app", "lib/l": "lib", "lib/vendor/deep/d": "deep"}
	for range 2 { // the second time, the mirror is there
		_, into, err = r.fetch(t.Context(), t, &agentv1.Source{Repository: app, Submodules: true}, nil)
		must(t, err)
		got := files(t, into)
		delete(got, ".gitmodules")
		delete(got, "lib/.gitmodules")
		if !same(got, want) {
			t.Errorf("there are %v, want %v", got, want)
		}
	}
}

func TestFetch_FollowsASubmoduleThatMoves(t *testing.T) {
	r := newRig(t, Options{})
	before, after := r.bare(t, "before", map[string]string{"l": "before"}), r.bare(t, "after", map[string]string{"l": "after"})
	app := r.bare(t, "app", map[string]string{"a": "app"})
	for _, lib := range []string{before, after} {
		r.addSubmodule(t, app, lib, "lib", lib)
		_, into, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: app, Submodules: true}, nil)
		must(t, err)
		if got := files(t, into)["lib/l"]; got != filepath.Base(lib) {
			t.Errorf("the submodule holds %q, want %q", got, filepath.Base(lib))
		}
	}
}

func TestFetch_RefusesHostileSubmodules(t *testing.T) {
	for name, written := range map[string]string{
		"ext":                 "ext::sh -c touch% /tmp/pwned",
		"file url":            "file:///etc",
		"not allowed path":    "/etc",
		"out of the prefix":   "../../git",
		"out of the root":     "../../../../../../../../../../etc",
		"another protocol":    "https://example.com/x",
		"private address":     "https://169.254.169.254/x",
		"leading dash":        "--upload-pack=id",
		"relative with break": "./x\n[core]",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			app := r.bare(t, "app", map[string]string{"a": "app"})
			r.addSubmodule(t, app, app, "lib", written)
			_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: app, Submodules: true}, nil)
			if !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "the submodule address") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFetch_JudgesSubmodulesAsGitReadsThem(t *testing.T) {
	for name, modules := range map[string]string{
		"on one line": "[submodule \"lib\"]url=ext::id\npath=lib\n",
		"upper case":  "[Submodule \"lib\"]\nURL = ext::id\nPath = lib\n",
		"continued":   "[submodule \"lib\"]\nurl = ext:\\\n:id\npath = lib\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			app := r.bare(t, "app", map[string]string{".gitmodules": modules})
			_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: app, Submodules: true}, nil)
			if !errors.Is(err, fault.KindDenied) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFetch_RefusesHostileSubmodulesOfSubmodules(t *testing.T) {
	r := newRig(t, Options{})
	lib := r.bare(t, "lib", map[string]string{"l": "lib"})
	r.addSubmodule(t, lib, lib, "deep", "/etc")
	app := r.bare(t, "app", map[string]string{"a": "app"})
	r.addSubmodule(t, app, lib, "lib", lib)
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: app, Submodules: true}, nil)
	if !errors.Is(err, fault.KindDenied) {
		t.Errorf("got %v", err)
	}
}

func TestResolve_KeepsRelativeAddressesOnTheirHost(t *testing.T) {
	s := &session{g: &Git{}}
	for _, test := range []struct{ base, written, want string }{
		{"https://example.com/team/app.git", "../lib.git", "https://example.com/team/lib.git"},
		{"https://example.com/team/app", "../../lib", "https://example.com/lib"},
		{"https://example.com/team/app", "../../../../evil.example/x", ""},
		{"https://example.com/team/app", "../..", ""},
		{"ssh://git@example.com:22/team/app", "../lib", "ssh://git@example.com:22/team/lib"},
		{"git@example.com:team/app.git", "../lib.git", "git@example.com:team/lib.git"},
		{"git@example.com:team/app.git", "../../../evil:x", ""},
		{"git@example.com:team/app.git", "../../-x", ""},
	} {
		base, err := ParseAddress(test.base, Policy{})
		must(t, err)
		got, err := s.resolve(base, test.written)
		if got.URL != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s and %s: got %q, %v", test.base, test.written, got.URL, err)
		}
	}
}

func TestFetch_TakesRelativeSubmodulesOverHTTPSAndNoneOfAPrivateAddress(t *testing.T) {
	r, h := newHostedRig(t)
	lib := r.bare(t, "lib.git", map[string]string{"l": "lib"})
	app := r.bare(t, "app.git", map[string]string{"a": "app"})
	r.addSubmodule(t, app, lib, "lib", "../lib.git")
	source := &agentv1.Source{Repository: h.URL + "/app.git", Submodules: true}
	_, into, err := r.fetch(t.Context(), t, source, nil)
	must(t, err)
	if got := files(t, into); got["a"] != "app" || got["lib/l"] != "lib" {
		t.Errorf("there are %v", got)
	}
	r.addSubmodule(t, app, lib, "other", "https://169.254.169.254/lib.git")
	_, _, err = r.fetch(t.Context(), t, source, nil)
	if !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "private address") {
		t.Errorf("got %v", err)
	}
}
