// Package node builds Node.js programs: it installs with the project's package manager, runs its build script and
// finds the command that starts it. Sites that are only built with node are package static's.
package node

import (
	"context"
	"fmt"

	"github.com/saas-gestor/gestor/plugins/javascript"
	"github.com/saas-gestor/gestor/plugins/runner"
)

// Runner builds Node.js programs.
type Runner struct{}

var _ runner.Runner = (*Runner)(nil)

// New returns the runner.
func New() *Runner { return &Runner{} }

// Info says what it is.
func (*Runner) Info() runner.Info {
	return runner.Info{Name: "node", Version: "1", Precedence: 50}
}

// Detect fits when there is a package.json and a program to start.
func (*Runner) Detect(_ context.Context, s runner.Source) (runner.Detection, error) {
	m, ok, err := javascript.ReadManifest(s)
	if err != nil {
		return no(err.Error()), nil
	}
	if !ok {
		return no("There is no package.json."), nil
	}
	if server, why := m.IsServer(s); !server {
		return no(why), nil
	}
	start, why := startCommand(s, m)
	if start == "" {
		return no(why), nil
	}
	d := runner.Detection{
		Fits: true, Reasons: []string{"package.json makes it a Node.js project.", why},
		StartCommand: start, Runtime: m.RuntimeText(s),
	}
	manager, err := javascript.ChooseManager(s, m)
	if err != nil {
		return no(err.Error()), nil
	}
	d.Reasons = append(d.Reasons, fmt.Sprintf("Packages are installed by %s: %s.", manager.Name, manager.Why))
	if m.Scripts["build"] != "" {
		d.BuildCommand = manager.Name + " run build"
	}
	return d, nil
}

func no(reason string) runner.Detection { return runner.Detection{Reasons: []string{reason}} }

// Build installs, builds and prunes.
func (r *Runner) Build(ctx context.Context, req runner.Request, h runner.Host) (runner.Result, error) {
	p, err := javascript.Open(ctx, req.Source, h, r.Info())
	if err != nil {
		return runner.Result{}, err
	}
	if err := p.Install(ctx); err != nil {
		return runner.Result{}, err
	}
	if err := p.Build(ctx, req.BuildCommand); err != nil {
		return runner.Result{}, err
	}
	out, err := r.output(ctx, p, req, h)
	if err != nil {
		return runner.Result{}, err
	}
	return out, p.Prune(ctx)
}

func (*Runner) output(
	ctx context.Context, p *javascript.Project, req runner.Request, h runner.Host,
) (runner.Result, error) {
	start, why := req.StartCommand, "The app's settings say so."
	if start == "" {
		start, why = startCommand(p.Source, p.Manifest)
	}
	if start == "" {
		return runner.Result{}, fmt.Errorf("it is not known how to start the app: %s Set a start command", why)
	}
	if err := h.Log(ctx, "it will be started with %q. %s", start, why); err != nil {
		return runner.Result{}, err
	}
	out := runner.Result{
		Kind: runner.Process, StartCommand: start, Exclude: []string{"node_modules/.cache"},
		Runtime: &runner.Runtime{Name: p.Node.Name, Version: p.Node.Version},
	}
	if req.Output == "" {
		return out, nil
	}
	dir, err := runner.CleanDir(req.Output)
	if err != nil || !p.Source.IsDir(dir) {
		return runner.Result{}, fmt.Errorf("the output folder %q is not there after the build", req.Output)
	}
	if dir != "." {
		out.ArtifactDir = dir
	}
	return out, nil
}
