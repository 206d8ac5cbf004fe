package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/artifact"
	"github.com/saas-gestor/gestor/agent/internal/build"
	"github.com/saas-gestor/gestor/agent/internal/deploy"
	"github.com/saas-gestor/gestor/agent/internal/policy"
	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/source"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/agent/internal/traffic"
	"github.com/saas-gestor/gestor/plugins/runner/client"
)

const (
	nobody        = 65534    // looks into repositories that no app owns yet
	artifactBytes = 10 << 30 // of artifacts kept on the host
)

// executors are all kinds of work this agent can do.
func (a *Agent) executors(law policy.Policy) ([]task.Executor, error) {
	c := a.config
	artifacts, err := artifact.Open(filepath.Join(c.DataDir, "artifacts"), artifactBytes)
	if err != nil {
		return nil, err
	}
	runtimes, err := runtime.Open(runtime.Options{
		Dir: filepath.Join(c.DataDir, "runtimes"), Sandbox: a.host.Sandbox(), UID: nobody, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	builder, err := a.builder(law, artifacts, runtimes)
	if err != nil {
		return nil, err
	}
	a.web = &web{options: webOptions(c)}
	deployer, err := deploy.New(deploy.Options{
		Root: c.DeployRoot, StateDir: filepath.Join(c.DataDir, "deploy"), HTTPPort: c.HTTPPort,
		FirstPort: c.AppPorts.First, LastPort: c.AppPorts.Last, Sandbox: a.host.Sandbox(), Supervisor: a.host.Supervisor(),
		Web: a.web, Blobs: a.session, Artifacts: artifacts, Runtimes: runtimes, Builds: builder,
		Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	all := deployer.Executors()
	for _, e := range builder.Executors() {
		all = append(all, ceiling{Executor: e, most: c.Build})
	}
	return all, nil
}

func (a *Agent) builder(law policy.Policy, artifacts *artifact.Store, runtimes *runtime.Manager) (*build.Builder, error) {
	c := a.config
	git, err := source.Open(source.Options{
		Dir: filepath.Join(c.DataDir, "source"), Sandbox: a.host.Sandbox(), Policy: sourcePolicy(law), Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	a.runners = client.Open(client.Options{Programs: runnerPrograms(c.RunnerDir), Log: c.Log})
	ensureUser := func(ctx context.Context, slug string, uid uint32) error {
		return release.EnsureUser(ctx, c.DeployRoot, release.App{Slug: slug, UID: uid})
	}
	return build.New(build.Options{
		Dir: filepath.Join(c.DataDir, "builds"), CacheDir: filepath.Join(c.DataDir, "cache"), DetectUID: nobody, EnsureUser: ensureUser, Git: git,
		Runtimes: runtimes, Runners: a.runners, Sandbox: a.host.Sandbox(), Artifacts: artifacts, Upload: a.session, Log: c.Log,
	})
}

func sourcePolicy(law policy.Policy) source.Policy {
	p := source.Policy{LocalPrefixes: law.AllowLocalRepositories}
	if law.AllowPrivateAddresses {
		p.PrivateHosts = []string{"*"}
	}
	return p
}

func runnerPrograms(dir string) map[string]string {
	return map[string]string{
		"static": filepath.Join(dir, "gestor-runner-static"),
		"node":   filepath.Join(dir, "gestor-runner-node"),
	}
}

// resume brings back, after a reboot, what ran on the host. Trouble with it does not keep the agent from its work.
func (a *Agent) resume(ctx context.Context) error {
	if a.web == nil { // tests with executors of their own
		return nil
	}
	if err := a.host.Supervisor().Restore(ctx); err != nil {
		a.log.Error("programs not started again", "err", err)
	}
	if _, err := a.web.open(ctx); err != nil {
		a.log.Warn("web server not ready, it is tried again when an app needs it", "err", err)
	}
	return nil
}

// web opens the web server when it is first needed: a host without one can still build, and may get one later.
type web struct {
	options traffic.Options

	mu    sync.Mutex // guards nginx
	nginx *traffic.Nginx
}

var _ deploy.Web = (*web)(nil)

func webOptions(c Config) traffic.Options {
	o := traffic.Options{Mode: traffic.Mode(c.Nginx.Mode), Program: c.Nginx.Binary, Log: c.Log}
	if c.Nginx.Mode == "auto" {
		o.Mode = pickMode()
	}
	if o.Mode == traffic.Managed {
		o.Dir = filepath.Join(c.DataDir, "nginx")
	} else if c.Nginx.ConfDir != "" {
		o.Include = filepath.Join(c.Nginx.ConfDir, "gestor.conf")
	}
	return o
}

// pickMode takes the host's nginx where systemd runs it.
func pickMode() traffic.Mode {
	_, systemd := os.Stat("/run/systemd/system")
	_, nginx := os.Stat("/etc/nginx/nginx.conf")
	if errors.Join(systemd, nginx) == nil {
		return traffic.System
	}
	return traffic.Managed
}

func (w *web) open(ctx context.Context) (*traffic.Nginx, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nginx != nil {
		return w.nginx, nil
	}
	n, err := traffic.Open(ctx, w.options)
	if err == nil {
		w.nginx = n
	}
	return n, err
}

func (w *web) Apply(ctx context.Context, s traffic.Site) (bool, error) {
	n, err := w.open(ctx)
	if err != nil {
		return false, err
	}
	return n.Apply(ctx, s)
}

func (w *web) Site(app string) (traffic.Site, bool, error) {
	n, err := w.open(context.Background()) // reads files, once nginx is open
	if err != nil {
		return traffic.Site{}, false, err
	}
	return n.Site(app)
}

func (w *web) Remove(ctx context.Context, app string) error {
	n, err := w.open(ctx)
	if err != nil {
		return err
	}
	return n.Remove(ctx, app)
}

func (w *web) Drain(ctx context.Context, most time.Duration) (bool, error) {
	n, err := w.open(ctx)
	if err != nil {
		return false, err
	}
	return n.Drain(ctx, most)
}
