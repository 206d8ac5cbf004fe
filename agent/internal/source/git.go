package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/agent/internal/lru"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// Options configures Git.
type Options struct {
	// Dir holds the mirrors and, for moments, keys. The users of apps must be able to pass through its parents.
	Dir string
	// Sandbox runs git.
	Sandbox process.Sandbox
	// Policy is the host's.
	Policy Policy
	// CAFile is a PEM file of authorities trusted besides the system's for https; none if empty.
	CAFile string
	// KeepBytes is what all mirrors and kept trees may take together; 5 GiB if 0.
	KeepBytes int64
	// Log takes what the operator of the host should know; discarded if nil.
	Log *slog.Logger
}

// Git fetches commits. Its methods may be called concurrently; fetches of one repository for one app wait for each other.
type Git struct {
	o       Options
	path    string       // where git and ssh are looked for
	folders *lru.Folders // the mirrors and kept trees

	mu    sync.Mutex // guards locks
	locks map[string]*sync.Mutex
}

// Open prepares the folder and removes what a crash left.
func Open(o Options) (*Git, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 5 << 30
	}
	mirrors := filepath.Join(o.Dir, "mirrors")
	g := &Git{
		o: o, path: searched, locks: map[string]*sync.Mutex{},
		folders: lru.New(lru.Options{Dir: mirrors, Entries: "*", Budget: o.KeepBytes}),
	}
	if err := os.RemoveAll(g.scratch()); err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	for _, dir := range []string{o.Dir, g.scratch(), mirrors} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("open source: %w", err)
		}
	}
	return g, nil
}

func (g *Git) scratch() string { return filepath.Join(g.o.Dir, "run") }

// Request names a commit and where it shall go.
type Request struct {
	// Name labels the steps; a task's id.
	Name string
	// Owner separates mirrors: no two apps share one. An app's id.
	Owner string
	// UID is the user git runs as.
	UID uint32
	// Source is the repository and ref.
	Source *agentv1.Source
	// Key is the deploy key, OpenSSH PEM; for ssh addresses.
	Key []byte
	// Into is an empty folder that belongs to UID; the tree goes there, without .git.
	Into string
	// Limits bound each step.
	Limits process.Limits
	// Output takes what git says.
	Output io.Writer
	// FindBranch asks for the name of the default branch when the source names no ref; it costs a connection.
	FindBranch bool
}

// Commit is what was fetched.
type Commit struct {
	// Hash is its full name.
	Hash string
	// Subject is the first line of its message.
	Subject string
	// Author is the author's name.
	Author string
	// Time is when it was committed.
	Time time.Time
	// Branch is the ref that was asked for, or the default branch if FindBranch was set.
	Branch string
}

// target is the ref in the mirror that the last fetch set.
const target = "refs/gestor/target"

// Fetch brings the commit into r.Into. Errors that another attempt may heal are marked as task.Retryable.
func (g *Git) Fetch(ctx context.Context, r Request) (Commit, error) {
	addr, err := ParseAddress(r.Source.GetRepository(), g.o.Policy)
	if err != nil {
		return Commit{}, err
	}
	if err := checkRef(r.Source.GetRef()); err != nil {
		return Commit{}, err
	}
	if r.UID == 0 {
		return Commit{}, errors.New("source: git must not run as root")
	}
	if err := addr.checkHost(ctx, g.o.Policy); err != nil {
		return Commit{}, err
	}
	defer g.folders.Use(folderOf(r.Owner))()
	mirror := g.mirror(r.Owner, addr)
	unlock := g.lock(mirror.dir)
	defer unlock()
	s, err := g.newSession(r, addr, mirror)
	if err != nil {
		return Commit{}, err
	}
	defer s.close()
	return s.fetch(ctx)
}

// Forget removes what is kept for an owner. What a fetch that is under way uses goes when it ends.
func (g *Git) Forget(owner string) error { return g.folders.Forget(folderOf(owner)) }

// lock waits for its turn at a mirror.
func (g *Git) lock(dir string) (unlock func()) {
	g.mu.Lock()
	m, ok := g.locks[dir]
	if !ok {
		m = &sync.Mutex{}
		g.locks[dir] = m
	}
	g.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// fetch tries with the mirror as it is and, if that is damaged, once more with a new one.
func (s *session) fetch(ctx context.Context) (Commit, error) {
	if err := s.mirror.prepare(int(s.r.UID)); err != nil {
		return Commit{}, err
	}
	if err := s.reuse(); err != nil {
		return Commit{}, fmt.Errorf("begin with the tree of the last fetch: %w", err)
	}
	commit, err := s.once(ctx)
	var damaged *damagedError
	if !errors.As(err, &damaged) {
		return commit, err
	}
	s.g.o.Log.Warn("mirror is damaged and made anew", "mirror", s.mirror.dir, "err", err)
	if err := s.mirror.recreate(int(s.r.UID)); err != nil {
		return Commit{}, err
	}
	if err := errors.Join(emptyDir(s.r.Into), os.RemoveAll(filepath.Join(s.dir, "index"))); err != nil {
		return Commit{}, err
	}
	return s.once(ctx)
}

func emptyDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("empty %s: %w", filepath.Base(dir), err)
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}

func (s *session) once(ctx context.Context) (Commit, error) {
	branch := s.r.Source.GetRef()
	if branch == "" && s.r.FindBranch {
		found, err := s.defaultBranch(ctx)
		if err != nil {
			return Commit{}, err
		}
		branch = found
	}
	ref := branch
	if ref == "" {
		ref = "HEAD"
	}
	if _, err := s.remote(ctx, "fetch", "--no-progress", "--depth=1", "--no-tags", "--force", "--no-recurse-submodules",
		"--no-auto-maintenance", "--no-write-fetch-head", "--end-of-options", s.addr.URL, "+"+ref+":"+target); err != nil {
		return Commit{}, err
	}
	commit := Commit{}
	group, inner := errgroup.WithContext(ctx) // both only read the mirror
	group.Go(func() (err error) {
		commit, err = s.describe(inner)
		return err
	})
	group.Go(func() error { return s.checkout(inner) })
	err := group.Wait()
	if err != nil && s.reused && ctx.Err() == nil { // what was kept may be at fault
		s.reused = false
		err = &damagedError{err}
	}
	if err != nil {
		return Commit{}, err
	}
	commit.Branch = branch
	return commit, s.leaveIndex()
}

// describe asks for what people want to know of the commit.
func (s *session) describe(ctx context.Context) (Commit, error) {
	out, err := s.local(ctx, "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%n%ct%n%an%n%s",
		"--end-of-options", target)
	if err != nil {
		return Commit{}, err
	}
	lines := strings.SplitN(strings.TrimSuffix(out, "\n"), "\n", 4)
	if len(lines) != 4 {
		return Commit{}, &damagedError{fmt.Errorf("git log said %q", out)}
	}
	seconds, _ := strconv.ParseInt(lines[1], 10, 64)
	return Commit{
		Hash: lines[0], Time: time.Unix(seconds, 0), Author: valid(lines[2]), Subject: valid(lines[3]),
	}, nil
}

func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// checkout writes the commit's tree. Large files and submodules come over the network, and only when asked for.
func (s *session) checkout(ctx context.Context) error {
	run := s.local
	if s.r.Source.GetLfs() {
		run = s.remote
	}
	if _, err := run(ctx, "read-tree", "--reset", "-u", "--no-recurse-submodules", target); err != nil {
		return err
	}
	if s.r.Source.GetSubmodules() {
		return s.submodules(ctx)
	}
	return nil
}

// defaultBranch asks the repository for it.
func (s *session) defaultBranch(ctx context.Context) (string, error) {
	out, err := s.remote(ctx, "ls-remote", "--symref", "--end-of-options", s.addr.URL, "HEAD")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "ref: refs/heads/"); ok {
			name, _, _ := strings.Cut(rest, "\t")
			return name, checkRef(name)
		}
	}
	return "", fault.NotFound("the repository is empty: it has no commit yet").WithFix("push something, then try again")
}
