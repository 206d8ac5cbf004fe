// Package source tells which repository the current directory belongs to. It asks git, by argument list and without a
// shell, for settings only, so that nothing a repository brings along is run: no hooks, no monitors, no helpers. It
// never sends anything and never changes the repository.
package source

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Repository is the work tree around a directory.
type Repository struct {
	Root   string // absolute path of the work tree
	Remote string // address without credentials; empty if it has no remote
	Branch string // empty when detached or without a commit
}

// Find describes the work tree around dir. Without one the answer is a fault of KindNotFound.
func Find(ctx context.Context, dir string) (Repository, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	g := git{dir: dir}
	root, err := g.run(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return Repository{}, explain(dir, err)
	}
	r := Repository{Root: filepath.Clean(root)}
	if branch, err := g.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); err == nil {
		r.Branch = branch
	}
	r.Remote = g.remote(ctx, r)
	return r, nil
}

// Unpushed is how many commits the branch has that its upstream has not; 0 if that cannot be told.
func Unpushed(ctx context.Context, dir string) string {
	count, err := git{dir: dir}.run(ctx, "rev-list", "--count", "@{upstream}..HEAD")
	if err != nil || strings.Trim(count, "0123456789") != "" || count == "0" {
		return ""
	}
	return count
}

func explain(dir string, err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fault.NotFound("git is not installed, so the app of this directory cannot be told").WithFix("name the app")
	case strings.Contains(text, "dubious ownership"):
		return fault.Denied("git does not trust %s, because another user owns it", dir).
			WithFix("run git status there to see git's advice, or name the app")
	default:
		return fault.NotFound("%s is not inside a git repository", dir).WithFix("name the app, or change into its repository")
	}
}

type git struct{ dir string }

// remote prefers the remote the branch follows, then origin, then the only one there is.
func (g git) remote(ctx context.Context, r Repository) string {
	names := []string{"origin"}
	if r.Branch != "" {
		if name, err := g.run(ctx, "config", "--get", "branch."+r.Branch+".remote"); err == nil && name != "." {
			names = []string{name, "origin"}
		}
	}
	if all, err := g.run(ctx, "remote"); err == nil && all != "" && !strings.Contains(all, "\n") {
		names = append(names, all)
	}
	for _, name := range names {
		url, err := g.run(ctx, "config", "--get", "remote."+name+".url")
		if err != nil || url == "" {
			continue
		}
		return StripCredentials(g.absolute(r.Root, url))
	}
	return ""
}

// absolute makes the path of a local remote absolute, because the server knows nothing of this directory.
func (g git) absolute(root, url string) string {
	if strings.Contains(url, ":") || filepath.IsAbs(url) {
		return url
	}
	return filepath.Join(root, url)
}

// maxOutput bounds what is read of git.
const maxOutput = 64 << 10

func (g git) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false", "-C", g.dir}, args...)...) //nolint:gosec // arguments of ours, and no shell
	cmd.Env = append(cmd.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			return "", errors.New(text)
		}
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// limited keeps the first maxOutput bytes and swallows the rest, so that git does not block.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	_, _ = l.Buffer.Write(p[:min(len(p), max(0, maxOutput-l.Len()))])
	return len(p), nil
}
