package node_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/plugins/node"
	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/runner/runnertest"
)

func TestRunner_KeepsTheContract(t *testing.T) {
	runnertest.Run(t, node.New(), runnertest.Case{Kind: runner.Process, Files: map[string]string{
		"package.json": `{"name":"x","scripts":{"start":"node server.js","build":"node -e 1"},"engines":{"node":">=18"}}`,
		"server.js":    "",
	}})
}

func TestDetect_FindsTheStartCommand(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"simple script": {map[string]string{"package.json": `{"scripts":{"start":"node --enable-source-maps dist/main.js"}}`}, "node --enable-source-maps dist/main.js"},
		"with variable": {map[string]string{"package.json": `{"scripts":{"start":"NODE_ENV=production node a.js"}}`}, "NODE_ENV=production node a.js"},
		"shell script":  {map[string]string{"package.json": `{"scripts":{"start":"node a.js && echo $X"}}`}, "npm start"},
		"with prestart": {map[string]string{"package.json": `{"scripts":{"start":"node a.js","prestart":"x"}}`}, "npm start"},
		"local program": {map[string]string{"package.json": `{"scripts":{"start":"next start -p 80"}}`, "node_modules/.bin/next": ""}, "./node_modules/.bin/next start -p 80"},
		"procfile":      {map[string]string{"package.json": `{"scripts":{"start":"node a.js"}}`, "Procfile": "worker: x\nweb: node web.js\n"}, "node web.js"},
		"main":          {map[string]string{"package.json": `{"main":"./lib/app.js"}`, "lib/app.js": ""}, "node lib/app.js"},
		"entry":         {map[string]string{"package.json": `{}`, "server.js": ""}, "node server.js"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := node.New().Detect(t.Context(), runnertest.Tree(t, test.files))
			if err != nil || !d.Fits || d.StartCommand != test.want {
				t.Fatalf("got %+v, %v", d, err)
			}
		})
	}
}

func TestDetect_ReadsTheVersionOfNode(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"node 20.x (engines in package.json)": {"package.json": `{"engines":{"npm":"9","node":"20.x"}}`, ".nvmrc": "18", "app.js": ""},
		"node lts/* (.nvmrc)":                 {"package.json": `{}`, ".nvmrc": "lts/*\n", "app.js": ""},
		"node 22.1.0 (.node-version)":         {"package.json": `{}`, ".node-version": "22.1.0", "app.js": ""},
	} {
		d, err := node.New().Detect(t.Context(), runnertest.Tree(t, files))
		if err != nil || d.Runtime != want {
			t.Errorf("want %q, got %+v, %v", want, d, err)
		}
	}
}

func TestBuild_ChoosesThePackageManagerAndCaches(t *testing.T) {
	const deps = `"dependencies":{"a":"1"},"devDependencies":{"b":"1"},"scripts":{"start":"node s.js"}`
	tests := map[string]struct {
		files          map[string]string
		install, prune string
		cached         bool
	}{
		"npm":         {map[string]string{"package.json": `{` + deps + `}`, "package-lock.json": "{}"}, "npm ci", "npm prune --omit=dev", true},
		"no lockfile": {map[string]string{"package.json": `{` + deps + `}`}, "npm install", "npm prune", false},
		"pnpm":        {map[string]string{"package.json": `{` + deps + `}`, "pnpm-lock.yaml": "lockfileVersion: '6.0'"}, "--package=pnpm@8.15.9 -- pnpm install --prod=false --frozen-lockfile", "pnpm prune --prod", true},
		"yarn":        {map[string]string{"package.json": `{` + deps + `}`, "yarn.lock": "# yarn lockfile v1"}, "yarn@1.22.22 -- yarn install", "--production", true},
		"berry":       {map[string]string{"package.json": `{"packageManager":"yarn@4.5.0",` + deps + `}`, "yarn.lock": "__metadata:"}, "@yarnpkg/cli-dist@4.5.0 -- yarn install --immutable", "workspaces focus", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := runnertest.Tree(t, test.files)
			h := &runnertest.Host{Source: s, Pretend: func(runner.Command) (runner.Exit, error) { return runner.Exit{}, nil }}
			if _, err := node.New().Build(t.Context(), runner.Request{Source: s}, h); err != nil {
				t.Fatal(err)
			}
			first, last := strings.Join(h.Commands[0].Argv, " "), strings.Join(h.Commands[len(h.Commands)-1].Argv, " ")
			if !strings.Contains(first, test.install) || !strings.Contains(last, test.prune) || (len(h.Saved) == 1) != test.cached {
				t.Errorf("ran %q … %q, saved %v", first, last, h.Saved)
			}
		})
	}
}

func TestBuild_InstallsNothingWithoutDependencies(t *testing.T) {
	s := runnertest.Tree(t, map[string]string{"package.json": `{"scripts":{"start":"node s.js"}}`, "package-lock.json": "{}"})
	h := &runnertest.Host{Source: s}
	if _, err := node.New().Build(t.Context(), runner.Request{Source: s}, h); err != nil || len(h.Commands) != 0 {
		t.Fatalf("ran %v, %v", h.Commands, err)
	}
}
