package build

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// isNumber is what lockfiles know of the one package the tests install.
const isNumber = "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="

// ms is the same of the package that only the build has.
const ms = "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="

func pnpmLock() string {
	return "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n  excludeLinksFromLockfile: false\n\n" +
		"importers:\n\n  .:\n    dependencies:\n      is-number:\n        specifier: 7.0.0\n        version: 7.0.0\n" +
		"    devDependencies:\n      ms:\n        specifier: 2.1.3\n        version: 2.1.3\n\n" +
		"packages:\n\n  is-number@7.0.0:\n    resolution: {integrity: " + isNumber + "}\n    engines: {node: '>=0.12.0'}\n\n" +
		"  ms@2.1.3:\n    resolution: {integrity: " + ms + "}\n\n" +
		"snapshots:\n\n  is-number@7.0.0: {}\n\n  ms@2.1.3: {}\n"
}

func yarnLock() string {
	const registry = "https://registry.yarnpkg.com/"
	return "# yarn lockfile v1\n\n\nis-number@7.0.0:\n  version \"7.0.0\"\n  resolved \"" + registry +
		"is-number/-/is-number-7.0.0.tgz#7535345b896734d5f80c4d06c50955527a14f12b\"\n  integrity " + isNumber + "\n\n" +
		"ms@2.1.3:\n  version \"2.1.3\"\n  resolved \"" + registry +
		"ms/-/ms-2.1.3.tgz#574c8138ce1d2b5861f0b44579dbadd60c6615b2\"\n  integrity " + ms + "\n"
}

// program is an app that needs one package, and another for its build; more is put into its package.json.
func program(more string) map[string]string {
	return map[string]string{
		"package.json": `{"name":"x","version":"1.0.0","license":"MIT","dependencies":{"is-number":"7.0.0"},` +
			`"devDependencies":{"ms":"2.1.3"},` + more + `"scripts":{"start":"node server.js","build":"node build.js > made.txt"}}`,
		"build.js":  `console.log(require("ms")("1m"), process.env.npm_config_user_agent)`,
		"server.js": `require("is-number")`,
	}
}

func TestBuild_InstallsWithTheManagerOfTheLockfileAndTakesTheCacheTheNextTime(t *testing.T) {
	tests := map[string]struct {
		more, lockfile, content string
		agent                   string // what the manager calls itself in scripts
	}{
		"pnpm by its lockfile":   {"", "pnpm-lock.yaml", pnpmLock(), "pnpm/9.15.9"},
		"yarn by packageManager": {`"packageManager":"yarn@1.22.19",`, "yarn.lock", yarnLock(), "yarn/1.22.19"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			files := program(test.more)
			maps.Copy(files, map[string]string{test.lockfile: test.content})
			repo := r.repo(t, files)
			for i, want := range []string{"install", "restored from the cache"} {
				task := buildTask(&agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}})
				task.Spec.Id = fmt.Sprintf("tsk_%d", i) // every build has another folder
				out := &sink{}
				res, err := r.Executors()[0].Run(t.Context(), task, out)
				if err != nil || !strings.Contains(out.String(), want) {
					t.Fatalf("%v; want %q in the log:\n%s", err, want, out)
				}
				dir := r.unpack(t, res.GetBuild().ArtifactDigest)
				if b, _ := os.ReadFile(filepath.Join(dir, "made.txt")); !strings.HasPrefix(string(b), "60000 "+test.agent) {
					t.Errorf("the build script said %q\n%s", b, out)
				}
				if _, err := os.Stat(filepath.Join(dir, "node_modules/is-number/index.js")); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if _, err := os.Lstat(filepath.Join(dir, "node_modules/ms")); err == nil || strings.Contains(out.String(), "warning:") {
					t.Errorf("what only the build needed is still there\n%s", out)
				}
			}
		})
	}
}
