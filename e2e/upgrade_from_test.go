//go:build upgrade

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// `make test-upgrade FROM=<revision>`: servers of that revision, with its agents and its gestor command, are upgraded to
// this tree one by one, through every mixture, while deployments go on. It needs the history of the repository.
func TestUpgrade_FromAnEarlierRevision(t *testing.T) {
	from := os.Getenv("GESTOR_UPGRADE_FROM")
	if from == "" {
		t.Fatal("say from which revision: make test-upgrade FROM=<git revision>")
	}
	next := filepath.Join(bin, "gestor-server")
	old := buildRevision(t, from)
	w := startWith(t, stack.Options{Servers: 3, Bin: old})
	w.upgrade(filepath.Join(old, "gestor-server"), next)
}

// buildRevision builds the programs of a revision, in a checkout that goes with the test.
func buildRevision(t *testing.T, revision string) string {
	t.Helper()
	tree, to := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	must(t, os.Chmod(filepath.Dir(to), 0o755)) // the runners start as another user
	must(t, os.Chmod(to, 0o755))
	git := func(args ...string) {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", ".."}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	git("worktree", "add", "--detach", tree, revision)
	t.Cleanup(func() { _ = exec.Command("git", "-C", "..", "worktree", "remove", "--force", tree).Run() }) //nolint:noctx // the test's own has ended
	if err := buildPrograms(tree, to); err != nil {
		t.Fatal(fmt.Errorf("revision %s: %w", revision, err))
	}
	return to
}
