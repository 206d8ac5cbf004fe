package deploy

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const usualPath = "/usr/local/bin:/usr/bin:/bin"

// program is a release of an app that runs as a program on this host.
type program struct {
	d       *Deployer
	dir     *release.Dir
	app     *agentv1.AppRef
	name    string // of the release
	serving *agentv1.Serving
	spec    savedSpec
	port    int
}

func specOf(r *agentv1.ReleaseSpec, s *agentv1.Serving, binDir string) savedSpec {
	l := s.GetLimits()
	return savedSpec{
		Command: r.GetStartCommand(), BinDir: binDir, Commit: r.GetCommit(), Shared: s.GetShared(),
		Memory: l.GetMemoryBytes(), CPUs: l.GetCpus(), Processes: int(l.GetProcesses()),
	}
}

// start makes the program run on its port and waits until it is healthy. If it does not become so it is stopped, and
// the error holds its last lines.
func (p *program) start(ctx context.Context, out task.Sink) error {
	name := unitName(p.app, p.name)
	st, err := p.d.o.Supervisor.Status(ctx, name)
	running := err == nil && st.Running
	if p.port, err = p.d.choosePort(p.app.GetSlug(), p.name, p.spec, running); err != nil {
		return err
	}
	probe, err := newProbe(p.port, p.serving)
	if err != nil {
		return err
	}
	if running && probe.once(ctx) == nil {
		return nil
	}
	out.Logf("starting %s on port %d", p.name, p.port)
	if err := p.d.o.Supervisor.Start(ctx, p.unit()); err != nil {
		return fmt.Errorf("start release %s: %w", p.name, err)
	}
	out.Phase("health")
	if err := probe.until(ctx, healthTimeout(p.serving), func() error { return p.alive(ctx) }); err != nil {
		return p.giveUp(ctx, err)
	}
	return nil
}

// alive is an error once the program has ended by itself.
func (p *program) alive(ctx context.Context) error {
	st, err := p.d.o.Supervisor.Status(ctx, unitName(p.app, p.name))
	if err != nil {
		return err
	}
	if st.LastExit != "" && (!st.Running || st.Restarts > 0) {
		return fault.Conflict("the program ended with %s", st.LastExit)
	}
	return nil
}

// giveUp stops a program that is not healthy.
func (p *program) giveUp(ctx context.Context, why error) error {
	lines := process.TailLog(p.dir.LogPath(), 20)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second) // also when ctx has ended
	defer cancel()
	if err := p.d.o.Supervisor.Stop(stopping, unitName(p.app, p.name), time.Second); err != nil {
		p.d.o.Log.Warn("release that is not healthy was not stopped", "app", p.app.GetSlug(), "release", p.name, "err", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.Conflict("release %s is not healthy: %v%s", p.name, why, lastLines(lines)).WithCause(why)
}

func lastLines(lines []string) string {
	if len(lines) == 0 {
		return "; it said nothing"
	}
	return "; its last lines:\n" + strings.Join(lines, "\n")
}

func (p *program) unit() process.Unit {
	return process.Unit{
		Name: unitName(p.app, p.name), Command: p.spec.Command, Dir: p.dir.ReleasePath(p.name),
		Env: p.env(), EnvFile: p.dir.EnvFile(p.name), UID: p.app.GetUid(), GID: p.app.GetUid(),
		Writable: writable(p.dir, p.spec.Shared), ReadOnly: p.readable(), Hidden: []string{p.d.o.Root},
		Limits:  process.Limits{MemoryBytes: p.spec.Memory, CPUs: p.spec.CPUs, Processes: p.spec.Processes},
		LogFile: p.dir.LogPath(), Grace: 30 * time.Second,
	}
}

// env are the variables Gestor sets for a program, no secrets.
func (p *program) env() map[string]string {
	env := baseEnv(p.dir, p.app, p.name, p.spec)
	env["PORT"], env["HOST"] = strconv.Itoa(p.port), "127.0.0.1"
	return env
}

func baseEnv(dir *release.Dir, app *agentv1.AppRef, name string, spec savedSpec) map[string]string {
	path := usualPath
	if spec.BinDir != "" {
		path = spec.BinDir + ":" + path
	}
	return map[string]string{
		"PATH": filepath.Join(dir.ReleasePath(name), "node_modules/.bin") + ":" + path, "HOME": dir.SharedPath(), "LANG": "C.UTF-8",
		"NODE_ENV": "production", "GESTOR_APP": app.GetSlug(), "GESTOR_RELEASE": name, "GESTOR_COMMIT": spec.Commit,
	}
}

// readable are the paths that must stay visible: the app's directory, and an interpreter the agent keeps among its own
// files.
func (p *program) readable() []string {
	paths := []string{p.dir.Path()}
	if dir := p.spec.BinDir; dir != "" && !strings.HasPrefix(dir, "/usr/") {
		paths = append(paths, filepath.Dir(dir))
	}
	return paths
}

// writable are the paths an app may write to: its part of shared.
func writable(dir *release.Dir, shared []string) []string {
	paths := []string{filepath.Join(dir.SharedPath(), "uploads"), filepath.Join(dir.SharedPath(), "logs")}
	for _, s := range shared {
		if s != "uploads" {
			paths = append(paths, filepath.Join(dir.SharedPath(), s))
		}
	}
	return paths
}

// hook runs a command of the app's in a release, confined as the app is.
func (p *program) hook(ctx context.Context, t task.Task, out task.Sink, name, command string) error {
	out.Phase(name)
	env := baseEnv(p.dir, p.app, p.name, p.spec)
	vars := make([]string, 0, len(env)+len(t.Secrets.GetEnv()))
	for k, v := range t.Secrets.GetEnv() {
		if _, ours := env[k]; !ours {
			vars = append(vars, k+"="+v)
		}
	}
	for k, v := range env {
		vars = append(vars, k+"="+v)
	}
	exit, err := p.d.o.Sandbox.Run(ctx, process.Step{
		Name: t.Spec.GetId() + "-" + name, Command: command, Dir: p.dir.ReleasePath(p.name), Env: vars,
		UID: p.app.GetUid(), GID: p.app.GetUid(), Writable: writable(p.dir, p.spec.Shared),
		ReadOnly: p.readable(), Hidden: []string{p.d.o.Root}, Network: true,
		Limits: process.Limits{MemoryBytes: p.spec.Memory, CPUs: p.spec.CPUs, Processes: p.spec.Processes, Time: 15 * time.Minute},
		Stdout: out.Stdout(), Stderr: out.Stderr(),
	})
	switch {
	case err != nil:
		return fmt.Errorf("run %s command: %w", name, err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case exit.Killed != "":
		return fault.Conflict("the %s command was stopped: %s", name, exit.Killed)
	case exit.Signal != "":
		return fault.Conflict("the %s command was ended by a signal: %s", name, exit.Signal)
	case exit.Code != 0:
		return fault.Conflict("the %s command ended with exit code %d", name, exit.Code)
	default:
		return nil
	}
}
