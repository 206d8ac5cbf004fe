package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/proto/fault"
)

// session is one Fetch: its scratch folder with configuration, key and index, and the mirror while it is locked.
type session struct {
	g      *Git
	r      Request
	addr   Address
	mirror mirror
	dir    string
	step   atomic.Int32 // numbers the runs of git
	reused bool         // the tree is that of an earlier fetch
}

func (g *Git) newSession(r Request, a Address, m mirror) (*session, error) {
	dir, err := os.MkdirTemp(g.scratch(), "git-")
	if err != nil {
		return nil, fmt.Errorf("prepare git: %w", err)
	}
	s := &session{g: g, r: r, addr: a, mirror: m, dir: dir}
	if s.r.Output == nil {
		s.r.Output = io.Discard
	}
	for name, content := range map[string]string{configName: s.config(), "known_hosts": r.Source.GetKnownHosts() + "\n"} {
		err = errors.Join(err, s.write(name, []byte(content)))
	}
	if a.Protocol == "ssh" {
		err = errors.Join(err, s.prepareSSH())
	}
	// Last: once the folder is the user's, what root writes by a path in it may end anywhere.
	if err = errors.Join(err, s.own(dir, 0o700)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close removes the key with all the rest.
func (s *session) close() {
	if err := os.RemoveAll(s.dir); err != nil {
		s.g.o.Log.Error("scratch folder of git cannot be removed", "dir", s.dir, "err", err)
	}
}

func (s *session) own(path string, mode os.FileMode) error {
	return errors.Join(os.Chmod(path, mode), os.Lchown(path, int(s.r.UID), int(s.r.UID))) // chmod follows links: first
}

func (s *session) write(name string, content []byte) error {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("prepare git: %w", err)
	}
	return s.own(path, 0o600)
}

// configName is where git also looks when it is told nothing: git-lfs runs it with an environment of its own.
const configName = ".gitconfig"

// config is the only configuration git reads.
func (s *session) config() string {
	lines := []string{
		"[protocol]", "allow = never", `[protocol "` + s.addr.Protocol + `"]`, "allow = always",
		"[core]", "hooksPath = /dev/null", "fsmonitor = false", "autocrlf = false", "askPass = /bin/false",
		"[safe]", "directory = *", // git runs as the app's user and may read what that user may
		"[credential]", "helper =", "[http]", "followRedirects = false", "lowSpeedLimit = 1000", "lowSpeedTime = 60",
		"[fetch]", "fsckObjects = false", "[transfer]", "credentialsInUrl = die", "[advice]", "detachedHead = false",
		"[gc]", "auto = 0", "[maintenance]", "auto = false",
	}
	if s.g.o.CAFile != "" {
		lines = append(lines, "[http]", "sslCAInfo = "+quote(s.g.o.CAFile))
	}
	if s.r.Source.GetLfs() {
		lines = append(lines, s.lfsConfig()...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// lfsConfig also sets what a repository's .lfsconfig could set otherwise: another server, and to go on without files.
func (s *session) lfsConfig() []string {
	server := s.addr.URL
	if s.addr.Protocol == "https" {
		server = strings.TrimSuffix(server, ".git") + ".git/info/lfs"
	}
	return []string{
		`[filter "lfs"]`, `clean = "git-lfs clean -- %f"`, `smudge = "git-lfs smudge -- %f"`,
		`process = "git-lfs filter-process"`, "required = true", `[remote "origin"]`, "url = " + quote(s.addr.URL),
		"lfsurl = " + quote(server), "[lfs]", "url = " + quote(server), "skipDownloadErrors = false",
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (s *session) env() []string {
	env := []string{
		"PATH=" + s.g.path, "HOME=" + s.dir, "LC_ALL=C.UTF-8", "LANGUAGE=C",
		"GIT_DIR=" + s.mirror.dir, "GIT_INDEX_FILE=" + filepath.Join(s.dir, "index"), "GIT_WORK_TREE=" + s.r.Into,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + filepath.Join(s.dir, configName), "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false",
		"GIT_ALLOW_PROTOCOL=" + s.addr.Protocol, "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0",
	}
	if s.addr.Protocol == "ssh" {
		env = append(env, "GIT_SSH_COMMAND="+s.sshCommand(), "GIT_SSH_VARIANT=ssh")
	}
	return env
}

// remote runs git with the network; local runs it without. Both return what it printed.
func (s *session) remote(ctx context.Context, args ...string) (string, error) {
	return s.git(ctx, call{args: args, network: s.addr.Protocol != "file", env: s.env(), dir: s.r.Into})
}

func (s *session) local(ctx context.Context, args ...string) (string, error) {
	return s.git(ctx, call{args: args, env: s.env(), dir: s.r.Into})
}

// call is one run of git.
type call struct {
	args    []string
	network bool
	env     []string
	dir     string
	visible []string // repositories of this host that it may read besides the app's
}

func (s *session) git(ctx context.Context, c call) (string, error) {
	if err := s.programs(); err != nil {
		return "", err
	}
	number := s.step.Add(1)
	var out, errs tail
	out.max, errs.max = 4<<20, 16<<10
	step := process.Step{
		Name: fmt.Sprintf("%s-git%d", s.r.Name, number), Argv: append([]string{"git"}, c.args...), Dir: c.dir,
		Env: c.env, UID: s.r.UID, GID: s.r.UID, Writable: []string{s.mirror.dir, s.dir, s.r.Into},
		Limits: s.r.Limits, Stdout: &out, Stderr: io.MultiWriter(&errs, s.r.Output), Network: c.network,
	}
	if s.addr.Protocol == "file" {
		step.ReadOnly = append([]string{s.addr.URL}, c.visible...)
	}
	for _, repository := range step.ReadOnly {
		if _, err := os.Stat(repository); err != nil {
			return "", fault.NotFound("there is no repository at %s on this host", repository)
		}
	}
	if s.g.o.CAFile != "" {
		step.ReadOnly = append(step.ReadOnly, s.g.o.CAFile)
	}
	exit, err := s.g.o.Sandbox.Run(ctx, step)
	switch {
	case err != nil:
		return "", fmt.Errorf("run git: %w", err)
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case exit.Killed != "":
		return "", fault.Exhausted("fetching the source was stopped: it reached its %s", exit.Killed).
			WithFix("raise the app's build limits, or make the repository smaller")
	case !exit.OK():
		return "", s.explain(ctx, c.args[0], errs.String(), exit)
	}
	return out.String(), nil
}

// searched is where the programs are.
const searched = "/usr/local/bin:/usr/bin:/bin"

// programs checks that the host has what fetching takes.
func (s *session) programs() error {
	if !s.has("git") {
		return missing("git", "install the package git on the node")
	}
	if s.addr.Protocol == "ssh" && !s.has("ssh") {
		return missing("ssh", "install the package openssh-client on the node")
	}
	if s.r.Source.GetLfs() && !s.has("git-lfs") {
		return missing("git-lfs", "install the package git-lfs on the node, or switch LFS off in the app's settings")
	}
	return nil
}

func (s *session) has(program string) bool {
	return slices.ContainsFunc(filepath.SplitList(s.g.path), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, program))
		return err == nil
	})
}

func missing(program, fix string) error {
	return fault.Unavailable("this host has no %s, which fetching the source takes", program).WithFix("%s", fix)
}

// tail keeps the last max bytes.
type tail struct {
	buf bytes.Buffer
	max int
}

func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	if len(b) > t.max {
		b = b[len(b)-t.max:]
	}
	if over := t.buf.Len() + len(b) - t.max; over > 0 {
		t.buf.Next(over)
	}
	t.buf.Write(b)
	return n, nil
}

func (t *tail) String() string { return t.buf.String() }
