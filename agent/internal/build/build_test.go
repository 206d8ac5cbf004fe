package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestBuild_MakesAnArtifactOfAPlainSite(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "hello", "assets/a.css": "a{}", "404.html": "no"})
	built, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if built.Kind != gestorv1.AppKind_APP_KIND_STATIC || built.Type != gestorv1.AppType_APP_TYPE_STATIC {
		t.Errorf("kind %v, type %v", built.Kind, built.Type)
	}
	if built.Commit != gitIn(t, repo, "rev-parse", "HEAD") || built.Message != "first" || built.Author != "Ada" {
		t.Errorf("commit %q %q by %q", built.Commit, built.Message, built.Author)
	}
	dir := r.unpack(t, built.ArtifactDigest)
	if b, _ := os.ReadFile(filepath.Join(dir, "index.html")); string(b) != "hello" {
		t.Errorf("index.html is %q", b)
	}
	if !slices.Equal(out.phases, []string{"fetch", "detect", "install", "pack", "upload"}) {
		t.Errorf("phases %v", out.phases)
	}
	if left, _ := os.ReadDir(r.o.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if kept, ok := r.o.Artifacts.Open(built.ArtifactDigest); !ok {
		t.Error("the artifact is not in the host's store")
	} else {
		kept.Close()
	}
}

func TestBuild_RunsTheBuildScriptAsTheAppsUserWithItsVariables(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{
		"package.json": `{"scripts":{"start":"node server.js","build":"node build.js"}}`,
		"build.js":     `require("fs").writeFileSync("made.txt", process.getuid()+" "+process.env.GREETING+" "+process.env.CI+" "+process.env.GESTOR_BUILD)`,
		"server.js":    `1`,
	})
	out := &sink{}
	task := buildTask(&agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}, Number: 12})
	task.Secrets.Env = map[string]string{"GREETING": "hi", "LD_PRELOAD": "/tmp/x.so"}
	res, err := r.Executors()[0].Run(t.Context(), task, out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built := res.GetBuild()
	if built.StartCommand != "node server.js" || built.GetRuntime().GetName() != "node" || built.GetRuntime().GetVersion() == "" {
		t.Errorf("start %q, runtime %v", built.StartCommand, built.Runtime)
	}
	b, _ := os.ReadFile(filepath.Join(r.unpack(t, built.ArtifactDigest), "made.txt"))
	if string(b) != "71234 hi 1 12" {
		t.Errorf("made.txt is %q", b)
	}
	if !strings.Contains(out.String(), "LD_PRELOAD") {
		t.Error("the log does not say that LD_PRELOAD was left out")
	}
}

func TestBuild_UsesTheFolderAndOutputTheAppNames(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"web/page/index.html": "x", "secret.txt": "y"})
	built, out, err := r.build(t, &agentv1.BuildWork{
		Source: &agentv1.Source{Repository: repo, Root: "web"}, Output: "page", Type: gestorv1.AppType_APP_TYPE_STATIC,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if entries, _ := os.ReadDir(r.unpack(t, built.ArtifactDigest)); len(entries) != 1 || entries[0].Name() != "index.html" {
		t.Errorf("the artifact holds %v", entries)
	}
}

func TestBuild_RefusesARootThatIsALink(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "x"})
	if err := os.Symlink("/etc", filepath.Join(repo, "web")); err != nil {
		t.Fatal(err)
	}
	gitIn(t, repo, "add", "-A")
	gitIn(t, repo, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "link")
	_, _, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo, Root: "web"}})
	if !errors.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), "no folder web") {
		t.Fatalf("got %v", err)
	}
}

func TestBuild_SaysWhichCommandFailed(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "x"})
	_, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}, BuildCommand: "echo oops; exit 3"})
	if err == nil || !strings.Contains(err.Error(), "the build command ended with exit code 3") || task.IsRetryable(err) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(out.String(), "oops") {
		t.Error("the output is not in the log")
	}
}

func TestBuild_SaysWhichLimitWasReached(t *testing.T) {
	tests := map[string]struct {
		command string
		limits  *gestorv1.Limits
		want    string
	}{
		"memory": {
			`node -e 'const a=[]; for(;;) a.push(Buffer.alloc(1<<20, 1))'`,
			&gestorv1.Limits{MemoryBytes: 200 << 20}, "memory limit of 200 MiB",
		},
		"disk": {"head -c 80M /dev/zero > big; sleep 60", &gestorv1.Limits{DiskBytes: 20 << 20}, "disk limit of 20 MiB"},
		"time": {"sleep 60", &gestorv1.Limits{Time: durationpb.New(2 * time.Second)}, "took longer than 2s"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			repo := r.repo(t, map[string]string{"index.html": "x"})
			_, out, err := r.build(t, &agentv1.BuildWork{
				Source: &agentv1.Source{Repository: repo}, BuildCommand: test.command, Limits: test.limits,
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v\n%s", err, out)
			}
		})
	}
}

func TestBuild_LeavesNoProcessWhenCancelled(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "x"})
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := fault.Cancelled("somebody stopped it")
	out := &sink{onLine: func(s string) {
		if strings.Contains(s, "begun") {
			cancel(stopped)
		}
	}}
	_, err := r.Executors()[0].Run(ctx, buildTask(&agentv1.BuildWork{
		Source:       &agentv1.Source{Repository: repo},
		BuildCommand: "setsid sleep 987 & (sleep 987 &) ; printf 'beg'; echo un; sleep 987",
	}), out)
	if !errors.Is(err, stopped) {
		t.Fatalf("got %v\n%s", err, out)
	}
	if ps, _ := exec.CommandContext(t.Context(), "pgrep", "-u", "71234", "sleep").Output(); len(ps) != 0 {
		t.Fatalf("still alive: %s", ps)
	}
	if left, _ := os.ReadDir(r.o.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBuild_TakesALineOfAGigabyteInConstantMemory(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "x"})
	_, out, err := r.build(t, &agentv1.BuildWork{
		Source: &agentv1.Source{Repository: repo}, BuildCommand: "head -c 1G /dev/zero",
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.written < 1<<30 {
		t.Errorf("only %d bytes came through", out.written)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") && len(strings.Fields(line)[1]) > 6 {
			t.Errorf("memory grew to %s", line)
		}
	}
}

func TestBuild_InstallsWithNpmAndTakesTheCacheTheNextTime(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{
		"package.json": `{"name":"x","version":"1.0.0","dependencies":{"is-number":"7.0.0"},"scripts":{"start":"node server.js"}}`,
		"server.js":    `require("is-number")`,
		"package-lock.json": `{"name":"x","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{` +
			`"":{"name":"x","version":"1.0.0","dependencies":{"is-number":"7.0.0"}},` +
			`"node_modules/is-number":{"version":"7.0.0","resolved":"https://registry.npmjs.org/is-number/-/is-number-7.0.0.tgz",` +
			`"integrity":"sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="}}}`,
	})
	for _, want := range []string{"$ npm ci", "restored from the cache"} {
		built, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}})
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !strings.Contains(out.String(), want) {
			t.Fatalf("%q is not in the log:\n%s", want, out)
		}
		if _, err := os.Stat(filepath.Join(r.unpack(t, built.ArtifactDigest), "node_modules/is-number/index.js")); err != nil {
			t.Error(err)
		}
	}
}

func TestForget_RemovesWhatBuildsOfTheAppKeep(t *testing.T) {
	r := newRig(t)
	repo := r.repo(t, map[string]string{"index.html": "x"})
	if _, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: repo}}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, app := range []string{"app_1", "app_2"} {
		if _, err := r.cache.folder(app, "npm", testUID); err != nil {
			t.Fatal(err)
		}
	}
	mirrors := filepath.Join(r.dir, "git/mirrors")
	if kept, err := os.ReadDir(mirrors); err != nil || len(kept) != 1 {
		t.Fatalf("mirrors are %v, %v", kept, err)
	}
	if err := r.Forget("app_1"); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadDir(mirrors); err != nil || len(kept) != 0 {
		t.Errorf("mirrors are %v, %v", kept, err)
	}
	if kept, err := os.ReadDir(r.o.CacheDir); err != nil || len(kept) != 1 || kept[0].Name() != "app_2" {
		t.Errorf("caches are %v, %v", kept, err)
	}
}

func TestForget_RefusesWhatIsNotTheIdOfAnApp(t *testing.T) {
	r := newRig(t)
	if _, err := r.cache.folder("app_1", "npm", testUID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", "..", "a/b"} {
		if err := r.Forget(id); err == nil {
			t.Errorf("%q was forgotten", id)
		}
	}
	if _, err := os.Stat(filepath.Join(r.o.CacheDir, "app_1")); err != nil {
		t.Error(err)
	}
}

func TestDetect_AnswersWithReasonsAndTheDefaultBranch(t *testing.T) {
	r := newRig(t)
	tests := map[string]struct {
		files map[string]string
		want  gestorv1.AppType
	}{
		"node":   {map[string]string{"package.json": `{"scripts":{"start":"node s.js"},"engines":{"node":">=20"}}`, "s.js": ""}, gestorv1.AppType_APP_TYPE_NODE},
		"static": {map[string]string{"package.json": `{"scripts":{"build":"vite build","dev":"vite"},"devDependencies":{"vite":"5"}}`, "index.html": ""}, gestorv1.AppType_APP_TYPE_STATIC},
		"none":   {map[string]string{"main.c": ""}, gestorv1.AppType_APP_TYPE_UNSPECIFIED},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			repo := r.repo(t, test.files)
			res, err := r.Executors()[1].Run(t.Context(), task.Task{Secrets: &agentv1.Secrets{}, Spec: &agentv1.TaskSpec{
				Id: "tsk_2", Kind: "detect",
				Work: &agentv1.TaskSpec_Detect{Detect: &agentv1.DetectWork{Source: &agentv1.Source{Repository: repo}}},
			}}, &sink{})
			if err != nil {
				t.Fatal(err)
			}
			d := res.GetDetection()
			if d.Type != test.want || len(d.Reasons) == 0 || d.Branch != "main" || len(d.Commit) != 40 {
				t.Errorf("got %v", d)
			}
		})
	}
}
