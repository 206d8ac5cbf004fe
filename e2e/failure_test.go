package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

func TestFailure_AppThatNeverBecomesHealthyLeavesTheOldOneServing(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	url := w.create("app", r, 1, "--watch", "0s", "--health-timeout", "2s")
	w.cli("deploy", "app")

	w.commit(r, "server.js", "console.log('cannot reach the moon'); setInterval(() => {}, 1000);")
	w.refused(1, []string{"cannot reach the moon", "node-1"}, "deploy", "app")
	w.serves(url, "v0")

	releases := query[struct {
		Releases []struct {
			Status  string `json:"status"`
			Current bool   `json:"current"`
		} `json:"releases"`
	}](w, "releases", "list", "app").Releases
	if releases[0].Status != "RELEASE_STATUS_BAD" || releases[0].Current {
		t.Errorf("the failed release is %+v, want it bad and not live", releases[0])
	}
	if !releases[1].Current {
		t.Errorf("the old release is %+v, want it live", releases[1])
	}
}

func TestFailure_ReleaseThatDiesWhileWatchedIsReverted(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	url := w.create("app", r, 1, "--watch", "20s")
	w.cli("apps", "set", "app", "--watch", "0s")
	w.cli("deploy", "app")
	w.cli("apps", "set", "app", "--watch", "20s")
	w.commit(r, "server.js", strings.ReplaceAll(nodeServer, "VERSION", "v1")+"\nsetTimeout(() => { console.error('out of luck'); process.exit(7); }, 2500);\n")
	w.refused(1, []string{"out of luck"}, "deploy", "app")
	w.serves(url, "v0")
}

func TestFailure_CancelledBuildLeavesNoProcess(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", map[string]string{"index.html": "one"})
	w.create("app", r, 1, "--type", "static", "--output", ".",
		"--build-command", "(setsid tail -f /dev/null 2>/dev/null & ); until [ -e "+w.Dir+"/never ]; do :; done")
	done := w.background("build", "app")
	w.until("the build to run", func() bool { return builds(w) >= 0 && w.daemons() > 0 })
	w.cli("builds", "cancel", "app", "1")
	if err := done(); err == nil {
		t.Error("the cancelled build's command ended with 0")
	}
	w.until("the build's processes to be gone", func() bool { return w.daemons() == 0 })
}

// daemons counts what the build above detached from itself.
func (w *world) daemons() int {
	out, _ := exec.CommandContext(w.t.Context(), "pgrep", "-fc", "^tail -f /dev/null$").Output()
	if strings.TrimSpace(string(out)) == "0" {
		return 0
	}
	return 1
}

func TestFailure_DiskFullDuringExtractionKeepsTheOldRelease(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", map[string]string{"index.html": "one"})
	url := w.create("app", r, 1)
	w.cli("deploy", "app")
	fill := w.smallDisk(w.Agents[0], "app")

	w.commit(r, "big.bin", strings.Repeat("0123456789abcdef", 1<<18)) // 4 MiB
	w.refused(1, []string{"space"}, "deploy", "app")
	w.serves(url, "one")
	fill()
	w.cli("deploy", "app")
	w.serves(url+"index.html", "one")
}

// smallDisk puts the app's releases on a file system of 3 MiB; the function it returns makes it large.
func (w *world) smallDisk(a *stack.Agent, app string) func() {
	w.t.Helper()
	dir := filepath.Join(a.DeployRoot, app)
	saved := w.t.TempDir()
	w.shell("cp", "-a", dir+"/.", saved)
	w.shell("mount", "-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs", dir)
	w.t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "umount", "-l", dir).Run() })
	w.shell("cp", "-a", saved+"/.", dir)
	return func() { w.shell("mount", "-o", "remount,size=64m", dir) }
}

// shell runs a program of the machine.
func (w *world) shell(name string, args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.t.Context(), name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func TestFailure_SecretsNeverReachLogsOrTheServersFiles(t *testing.T) {
	w := start(t, 1)
	const secret = "hunter2-correct-horse"
	r := w.repo("app", map[string]string{"index.html": "one"})
	w.create("app", r, 1, "--type", "static", "--output", ".", "--build-command", "echo the key is $API_KEY")
	cmd := w.Command(t.Context(), "apps", "env", "set", "app", "API_KEY", "-")
	cmd.Stdin = strings.NewReader(secret)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.cli("deploy", "app")
	log := w.cli("logs", "app", "--build", "1")
	if !strings.Contains(log, "the key is") || strings.Contains(log, secret) {
		t.Errorf("the build's log is %q, want the line without the secret", log)
	}
	must(t, filepath.WalkDir(filepath.Join(w.Dir, "server"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	}))
}
