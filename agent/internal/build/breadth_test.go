package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestBuild_BuildsEachAppOfAWorkspaceByItsRoot(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{
		"package.json":          `{"private":true,"workspaces":["apps/*"]}`,
		"shared/name.txt":       "shop",
		"apps/api/package.json": `{"name":"api","dependencies":{"is-number":"7.0.0"},"devDependencies":{"ms":"2.1.3"},"scripts":{"start":"node main.js","build":"cp ../../shared/name.txt name.txt"}}`,
		"apps/api/main.js":      "",
		"apps/web/package.json": `{"name":"web","scripts":{"build":"mkdir dist && cp ../../shared/name.txt dist/index.html"}}`,
	})
	tests := map[string]struct {
		kind  gestorv1.AppKind
		start string
		made  map[string]string // by file, what it holds
		lacks string
	}{
		"apps/api": {gestorv1.AppKind_APP_KIND_PROCESS, "node main.js", map[string]string{"name.txt": "shop", "node_modules/is-number/package.json": "7.0.0"}, "node_modules/ms"},
		"apps/web": {gestorv1.AppKind_APP_KIND_STATIC, "", map[string]string{"index.html": "shop"}, "package.json"},
	}
	for root, test := range tests {
		built, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo, Root: root}})
		if err != nil {
			t.Fatalf("%s: %v\n%s", root, err, out)
		}
		if built.Kind != test.kind || built.StartCommand != test.start {
			t.Errorf("%s: kind %v, started with %q", root, built.Kind, built.StartCommand)
		}
		dir := r.unpack(t, built.ArtifactDigest)
		for name, want := range test.made {
			if b, _ := os.ReadFile(filepath.Join(dir, name)); !strings.Contains(string(b), want) {
				t.Errorf("%s: %s holds %q\n%s", root, name, b, out)
			}
		}
		if _, err := os.Lstat(filepath.Join(dir, test.lacks)); err == nil {
			t.Errorf("%s: %s is a part of the artifact", root, test.lacks)
		}
	}
}

func TestBuild_PublishesOnlyWhatTheBuildScriptOfASiteMakes(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{
		"package.json": `{"scripts":{"build":"node build.js"}}`,
		"build.js":     `const fs = require("fs"); fs.mkdirSync("dist"); fs.writeFileSync("dist/index.html", "built")`,
		"secret.txt":   "not for everybody",
	})
	built, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if built.Type != gestorv1.AppType_APP_TYPE_STATIC || built.Kind != gestorv1.AppKind_APP_KIND_STATIC {
		t.Errorf("type %v, kind %v", built.Type, built.Kind)
	}
	entries, _ := os.ReadDir(r.unpack(t, built.ArtifactDigest))
	if len(entries) != 1 || entries[0].Name() != "index.html" {
		t.Errorf("published are %v", entries)
	}
	for _, reason := range []string{"static fits: package.json has a build script.", "no start script", "the site is in dist"} {
		if !strings.Contains(out.String(), reason) {
			t.Errorf("%q is not in the log:\n%s", reason, out)
		}
	}
}
