package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Repo is a git repository on this machine, from which apps are deployed.
type Repo struct{ Dir string }

// NewRepo makes a repository in dir with a copy of the files under from as its first commit, on branch main. If
// dir is a repository already it is kept as it is.
func NewRepo(ctx context.Context, dir, from string) (Repo, error) {
	r := Repo{Dir: dir}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		return r, nil
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return r, fmt.Errorf("copy %s: %w", from, err)
	}
	if _, err := r.git(ctx, "init", "-q", "-b", "main"); err != nil {
		return r, err
	}
	_, err := r.Commit(ctx, "first version")
	return r, err
}

// Write writes a file of the work tree; the path is below the repository.
func (r Repo) Write(path, content string) error {
	full := filepath.Join(r.Dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, []byte(content), 0o644)
}

// Commit commits everything and returns the commit's hash.
func (r Repo) Commit(ctx context.Context, message string) (string, error) {
	if _, err := r.git(ctx, "add", "-A"); err != nil {
		return "", err
	}
	if _, err := r.git(ctx, "-c", "user.name=Ana", "-c", "user.email=ana@example.com",
		"commit", "-q", "--allow-empty", "-m", message); err != nil {
		return "", err
	}
	return r.git(ctx, "rev-parse", "HEAD")
}

func (r Repo) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.Dir}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
