package javascript

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/saas-gestor/gestor/plugins/runner"
)

// Project is a JavaScript project under construction.
type Project struct {
	Source   runner.Source
	Manifest Manifest
	Manager  Manager
	Node     runner.Runtime
	// Runner is the runner that builds it; a part of cache keys.
	Runner runner.Info

	host runner.Host
}

// Open reads the project and makes its node available.
func Open(ctx context.Context, s runner.Source, h runner.Host, info runner.Info) (*Project, error) {
	m, ok, err := ReadManifest(s)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("there is no package.json in the source; check the app's root folder")
	}
	manager, err := ChooseManager(s, m)
	if err != nil {
		return nil, err
	}
	versions, from := m.NodeVersion(s)
	if from != "" { // first, because what cannot be had is refused in the host's words
		if err := h.Log(ctx, "%s asks for node %q", from, versions); err != nil {
			return nil, err
		}
	}
	node, err := h.ResolveRuntime(ctx, "node", versions)
	if err != nil {
		return nil, err
	}
	if from == "" {
		from = "no version asked for"
	}
	if err := h.Log(ctx, "node %s (%s), %s (%s)", node.Version, strings.TrimSpace(versions+" "+from), manager.Name, manager.Why); err != nil {
		return nil, err
	}
	return &Project{Source: s, Manifest: m, Manager: manager, Node: node, Runner: info, host: h}, nil
}

// Install installs the dependencies, from the cache if it holds exactly these.
func (p *Project) Install(ctx context.Context) error {
	if err := p.host.Phase(ctx, "install"); err != nil {
		return err
	}
	if !p.Manifest.HasDependencies() {
		return p.host.Log(ctx, "package.json asks for no packages: nothing to install")
	}
	if p.Manager.Lockfile == "" {
		if err := p.host.Log(ctx, "warning: there is no lockfile, so every build may get other versions; commit one"); err != nil {
			return err
		}
	}
	key := p.cacheKey()
	if key != "" {
		hit, err := p.host.RestoreCache(ctx, key, "node_modules")
		if err != nil {
			return err
		}
		if hit {
			return p.host.Log(ctx, "node_modules restored from the cache: the lockfile has not changed")
		}
	}
	argv := p.Manager.install()
	if err := p.Run(ctx, argv); err != nil {
		return err
	}
	if key == "" {
		return nil
	}
	return p.host.SaveCache(ctx, key, "node_modules")
}

// cacheKey covers all that decides what an install yields; empty if that cannot be told.
func (p *Project) cacheKey() string {
	if p.Manager.Lockfile == "" || p.Manifest.local() || p.Manifest.installScripts() || p.Source.IsFile("pnpm-workspace.yaml") {
		return ""
	}
	sum := sha256.New()
	for _, name := range []string{p.Manager.Lockfile, "package.json", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs"} {
		b, _ := p.Source.ReadFile(name)
		_, _ = fmt.Fprintf(sum, "%s %d\n", name, len(b))
		sum.Write(b)
	}
	_, _ = fmt.Fprintln(sum, p.Manager.Name, p.Manager.Version, p.Node.Version, runtime.GOARCH, p.Runner.Name, p.Runner.Version)
	return "node-modules-" + hex.EncodeToString(sum.Sum(nil))
}

// Build runs the person's build command, or the build script if there is one.
func (p *Project) Build(ctx context.Context, command string) error {
	script := p.Manifest.Scripts["build"]
	if command == "" && script == "" {
		return nil
	}
	if err := p.host.Phase(ctx, "build"); err != nil {
		return err
	}
	if command == "" {
		return p.Run(ctx, p.Manager.RunScript("build"))
	}
	return p.run(ctx, runner.Command{Line: command}, "the build command")
}

// Prune removes what only the build needed. That it cannot is no error: the release is only larger.
func (p *Project) Prune(ctx context.Context) error {
	argv := p.Manager.prune()
	if len(p.Manifest.DevDependencies) == 0 || argv == nil {
		return nil
	}
	exit, err := p.host.Run(ctx, p.complete(runner.Command{Argv: argv}))
	if err != nil {
		return err
	}
	if failed := exit.Err(strings.Join(argv, " ")); failed != nil {
		return p.host.Log(ctx, "warning: development packages stay in the release: %v", failed)
	}
	return nil
}

// Run runs a step with the project's node, and makes a bad end an error.
func (p *Project) Run(ctx context.Context, argv []string) error {
	return p.run(ctx, runner.Command{Argv: argv}, strings.Join(argv, " "))
}

func (p *Project) run(ctx context.Context, c runner.Command, what string) error {
	exit, err := p.host.Run(ctx, p.complete(c))
	if err != nil {
		return err
	}
	return exit.Err(what)
}

func (p *Project) complete(c runner.Command) runner.Command {
	c.Runtime, c.CacheDirs, c.Env = &p.Node, p.Manager.cacheDirs(), p.Manager.env()
	return c
}
