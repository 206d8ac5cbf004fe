// Package static makes sites of files: folders that are served as they are, and projects that a generator such as
// Vite or Astro turns into one.
package static

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/saas-gestor/gestor/plugins/javascript"
	"github.com/saas-gestor/gestor/plugins/runner"
)

// Runner makes sites of files.
type Runner struct{}

var _ runner.Runner = (*Runner)(nil)

// New returns the runner.
func New() *Runner { return &Runner{} }

// Info says what it is.
func (*Runner) Info() runner.Info {
	return runner.Info{Name: "static", Version: "1", Precedence: 40}
}

// Detect fits when there is an index.html somewhere usual, or a build script and no program to start.
func (*Runner) Detect(_ context.Context, s runner.Source) (runner.Detection, error) {
	m, ok, err := javascript.ReadManifest(s)
	if err != nil {
		return no(err.Error()), nil
	}
	if ok && m.Scripts["build"] != "" {
		return detectBuilt(s, m), nil
	}
	dir := folder(s, committed())
	if dir == "" {
		return no("There is no index.html at the top or in public, dist, build, out, site, www, docs or _site."), nil
	}
	if ok {
		if server, why := m.IsServer(s); server {
			return no(why + " That makes it a program, not a site of files."), nil
		}
	}
	return runner.Detection{
		Fits: true, Output: dir,
		Reasons: []string{fmt.Sprintf("There is %s, and nothing to build.", path.Join(dir, "index.html"))},
	}, nil
}

func no(reason string) runner.Detection { return runner.Detection{Reasons: []string{reason}} }

func detectBuilt(s runner.Source, m javascript.Manifest) runner.Detection {
	server, why := m.IsServer(s)
	if server {
		return no(why + " That makes it a program, not a site of files.")
	}
	manager, err := javascript.ChooseManager(s, m)
	if err != nil {
		return no(err.Error())
	}
	d := runner.Detection{
		Fits: true, Runtime: m.RuntimeText(s), BuildCommand: manager.Name + " run build",
		Reasons: []string{"package.json has a build script.", why},
	}
	if name, output := m.StaticFramework(s); name != "" {
		d.Output = output
		d.Reasons[0] = fmt.Sprintf("package.json has a build script and uses %s.", name)
	}
	return d
}

// Build installs and builds if there is something to build, and finds the folder to serve.
func (r *Runner) Build(ctx context.Context, req runner.Request, h runner.Host) (runner.Result, error) {
	m, ok, err := javascript.ReadManifest(req.Source)
	if err != nil {
		return runner.Result{}, err
	}
	switch {
	case ok && (m.Scripts["build"] != "" || req.BuildCommand != ""):
		err = r.buildProject(ctx, req, h)
	case req.BuildCommand != "":
		err = buildPlain(ctx, req, h)
	default:
		err = h.Log(ctx, "there is nothing to build")
	}
	if err != nil {
		return runner.Result{}, err
	}
	dir, err := output(req, m)
	if err != nil {
		return runner.Result{}, err
	}
	return result(dir), h.Log(ctx, "the site is in %s", describe(dir))
}

func (r *Runner) buildProject(ctx context.Context, req runner.Request, h runner.Host) error {
	p, err := javascript.Open(ctx, req.Source, h, r.Info())
	if err != nil {
		return err
	}
	if err := p.Install(ctx); err != nil {
		return err
	}
	return p.Build(ctx, req.BuildCommand)
}

func buildPlain(ctx context.Context, req runner.Request, h runner.Host) error {
	if err := h.Phase(ctx, "build"); err != nil {
		return err
	}
	exit, err := h.Run(ctx, runner.Command{Line: req.BuildCommand})
	if err != nil {
		return err
	}
	return exit.Err("the build command")
}

// output finds the folder to serve.
func output(req runner.Request, m javascript.Manifest) (string, error) {
	if req.Output != "" {
		dir, err := runner.CleanDir(req.Output)
		if err != nil || !req.Source.IsDir(dir) {
			return "", fmt.Errorf("the output folder %q is not there after the build", req.Output)
		}
		return dir, nil
	}
	folders := committed()
	if m.Scripts["build"] != "" || req.BuildCommand != "" {
		folders = built(req.Source, m)
	}
	if dir := folder(req.Source, folders); dir != "" {
		return dir, nil
	}
	return "", errors.New("there is no index.html in " + strings.Join(folders, ", ") + "; set the output folder")
}

// committed are the folders a finished site is in.
func committed() []string {
	return []string{".", "public", "dist", "build", "out", "site", "www", "docs", "_site"}
}

// built are the folders generators write to, the likely one first.
func built(s runner.Source, m javascript.Manifest) []string {
	folders := []string{"dist", "build", "out", "_site", ".vitepress/dist", "docs/.vitepress/dist", "public", "."}
	if m.DependsOn("@angular/cli") && m.Name != "" {
		folders = append([]string{path.Join("dist", m.Name, "browser"), path.Join("dist", m.Name)}, folders...)
	}
	if _, likely := m.StaticFramework(s); likely != "" {
		folders = append([]string{likely}, folders...)
	}
	return folders
}

// folder is the first that holds an index.html; empty if none does.
func folder(s runner.Source, folders []string) string {
	for _, dir := range folders {
		if s.IsFile(path.Join(dir, "index.html")) {
			return dir
		}
	}
	return ""
}

// result leaves out what a site at the top of a repository should not publish.
func result(dir string) runner.Result {
	out := runner.Result{Kind: runner.Static}
	if dir != "." {
		out.ArtifactDir = dir
		return out
	}
	out.Exclude = []string{
		"node_modules", ".github", ".gitlab", ".gitignore", ".gitattributes", ".env", ".npmrc",
		"package.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock",
	}
	return out
}

func describe(dir string) string {
	if dir == "." {
		return "the top folder"
	}
	return dir
}
