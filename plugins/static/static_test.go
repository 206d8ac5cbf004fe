package static_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/runner/runnertest"
	"github.com/saas-gestor/gestor/plugins/static"
)

func TestRunner_KeepsTheContract(t *testing.T) {
	runnertest.Run(t, static.New(), runnertest.Case{
		Files: map[string]string{"public/index.html": "hello"}, Kind: runner.Static,
	})
}

func TestDetect_DecidesBetweenSitesAndPrograms(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		fits  bool
		say   string
	}{
		"plain": {map[string]string{"index.html": ""}, true, "index.html"},
		"vite": {
			map[string]string{"package.json": `{"scripts":{"build":"vite build","start":"vite"},"devDependencies":{"vite":"5"}}`},
			true, "uses Vite",
		},
		"next exported": {map[string]string{
			"package.json":    `{"scripts":{"build":"next build"},"dependencies":{"next":"15"}}`,
			"next.config.mjs": "export default {\n  output: 'export',\n}",
		}, true, "output: export"},
		"next served": {
			map[string]string{"package.json": `{"scripts":{"build":"next build","start":"next start"},"dependencies":{"next":"15"}}`},
			false, "program",
		},
		"server with a page": {
			map[string]string{"package.json": `{"scripts":{"start":"node server.js"}}`, "public/index.html": ""},
			false, "program",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := static.New().Detect(t.Context(), runnertest.Tree(t, test.files))
			if err != nil || d.Fits != test.fits || !strings.Contains(strings.Join(d.Reasons, " "), test.say) {
				t.Fatalf("got %+v, %v", d, err)
			}
		})
	}
}

func TestBuild_SaysWhereItLookedForASite(t *testing.T) {
	s := runnertest.Tree(t, map[string]string{"package.json": `{"scripts":{"build":"true"}}`})
	_, err := static.New().Build(t.Context(), runner.Request{Source: s}, &runnertest.Host{Source: s})
	if err == nil || !strings.Contains(err.Error(), "set the output folder") {
		t.Fatalf("got %v", err)
	}
}
