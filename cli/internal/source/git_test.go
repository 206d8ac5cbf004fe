package source_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/saas-gestor/gestor/cli/internal/source"
	"github.com/saas-gestor/gestor/proto/fault"
)

func newRepository(t *testing.T) string {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	git(t, dir, "init", "-q", "-b", "main")
	return dir
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func TestFind_PrefersTheRemoteTheBranchFollows(t *testing.T) {
	dir := newRepository(t)
	git(t, dir, "remote", "add", "origin", "git@host:ana/fork")
	git(t, dir, "remote", "add", "upstream", "https://ana:token@host/team/app")
	git(t, dir, "config", "branch.main.remote", "upstream")
	sub := filepath.Join(dir, "deep", "down")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := source.Find(t.Context(), sub)
	want := source.Repository{Root: dir, Remote: "https://host/team/app", Branch: "main"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestFind_TakesTheOnlyRemoteWhateverItsName(t *testing.T) {
	dir := newRepository(t)
	git(t, dir, "remote", "add", "--", "hub", "../other")
	got, err := source.Find(t.Context(), dir)
	if want := filepath.Join(filepath.Dir(dir), "other"); err != nil || got.Remote != want {
		t.Errorf("got %q, %v, want %q", got.Remote, err, want)
	}
}

func TestFind_RunsNothingTheRepositoryBrings(t *testing.T) {
	dir := newRepository(t)
	trap := filepath.Join(dir, "sprung")
	script := filepath.Join(dir, "trap.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+trap+"\n"), 0o755); err != nil { // it must be runnable to be a trap
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "core.sshCommand", "core.pager", "credential.helper", "alias.remote", "alias.config"} {
		git(t, dir, "config", key, script)
	}
	git(t, dir, "remote", "add", "origin", "ext::"+script)
	if _, err := source.Find(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	source.Unpushed(t.Context(), dir)
	if _, err := os.Stat(trap); err == nil {
		t.Error("looking at the repository ran its script")
	}
}

func TestFind_SaysThatADirectoryIsNoRepository(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	if _, err := source.Find(t.Context(), dir); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("got %v", err)
	}
}
