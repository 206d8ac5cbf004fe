package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// A host with systemd as its first process, made of this machine's own root file system: an overlay over / in a
// container that shares the network. What is written there is gone with it.
type systemdHost struct {
	t      *testing.T
	root   string
	nspawn int // systemd-nspawn
	pid    int // systemd, as seen from outside
}

// controllers are the cgroup v1 hierarchies a container wants its own group in; a pure v2 machine has none of them.
var controllers = []string{"memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "devices", "freezer", "systemd", "unified"}

// initScript makes the v1 hierarchies writable inside, where the machine has them, and becomes systemd.
const initScript = `#!/bin/sh
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	for c in memory cpu cpuacct cpuset pids blkio devices freezer; do
		mount -o remount,bind,rw /sys/fs/cgroup/$c 2>/dev/null || :
	done
fi
exec /lib/systemd/systemd "$@"
`

func bootSystemd(t *testing.T, binds ...string) *systemdHost {
	t.Helper()
	h := &systemdHost{t: t, root: overlay(t)}
	must(t, os.WriteFile(filepath.Join(h.root, "sbin/host-init"), []byte(initScript), 0o755))
	must(t, os.WriteFile(filepath.Join(h.root, "etc/machine-id"), nil, 0o644))
	for _, unit := range []string{"nginx.service", "ssh.service"} { // the network is shared: their ports may be taken
		_ = os.Remove(filepath.Join(h.root, "etc/systemd/system/multi-user.target.wants", unit))
	}
	h.boot(binds)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Poll(ctx, "systemd to be up", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // asked while the bus comes up, it may never answer
		defer cancel()
		h.pid = child(ctx, h.nspawn) // at first it may be one that only makes the real one
		if h.pid == 0 {
			return false, nil
		}
		state, _ := h.command(ctx, "systemctl", "is-system-running").Output()
		return strings.TrimSpace(string(state)) == "running" || strings.TrimSpace(string(state)) == "degraded", nil
	}))
	return h
}

// child is the first child of a process, 0 if it has none.
func child(ctx context.Context, of int) int {
	out, _ := exec.CommandContext(ctx, "pgrep", "-o", "-P", strconv.Itoa(of)).Output()
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return pid
}

// overlay mounts / under a writable layer in memory.
func overlay(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	must(t, unix.Mount("tmpfs", base, "tmpfs", 0, "size=2g,mode=755"))
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	var dirs []string
	for _, name := range []string{"up", "work", "root"} {
		dir := filepath.Join(base, name)
		must(t, os.Mkdir(dir, 0o755))
		dirs = append(dirs, dir)
	}
	must(t, unix.Mount("overlay", dirs[2], "overlay", 0, fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", dirs[0], dirs[1])))
	t.Cleanup(func() { _ = unix.Unmount(dirs[2], unix.MNT_DETACH) })
	return dirs[2]
}

func (h *systemdHost) boot(binds []string) {
	h.t.Helper()
	name := "gestor-test-" + strconv.Itoa(os.Getpid())
	args := []string{
		"--quiet", "--directory=" + h.root, "--machine=" + name, "--hostname=" + name, "--resolv-conf=off", "--timezone=off",
		"--link-journal=no", "--register=no", "--keep-unit", "--console=pipe", "--kill-signal=SIGRTMIN+3", "--capability=all",
		"--system-call-filter=@keyring bpf",
	}
	for _, dir := range binds {
		args = append(args, "--bind="+dir)
	}
	cmd := exec.CommandContext(context.Background(), "systemd-nspawn", append(args, "/sbin/host-init")...) // ended in Cleanup
	console, err := os.Create(filepath.Join(h.t.TempDir(), "console.log"))
	must(h.t, err)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	leave := enterGroups(h.t, name)
	err = cmd.Start()
	leave()
	must(h.t, err)
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // a clean shutdown
		_ = cmd.Wait()
		removeGroups(name)
	})
	h.nspawn = cmd.Process.Pid
}

// enterGroups puts this process into a group of its own in each v1 hierarchy, so that the container is born there;
// the function it returns puts it back.
func enterGroups(t *testing.T, name string) func() {
	t.Helper()
	back := map[string]string{}
	for _, c := range controllers {
		top := filepath.Join("/sys/fs/cgroup", c)
		if _, err := os.Stat(top); err != nil {
			continue
		}
		dir := filepath.Join(top, name)
		must(t, os.MkdirAll(dir, 0o755))
		if c == "cpuset" {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				raw, err := os.ReadFile(filepath.Join(top, file))
				must(t, err)
				must(t, os.WriteFile(filepath.Join(dir, file), raw, 0o644))
			}
		}
		back[top] = dir
		must(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644))
	}
	return func() {
		for top := range back {
			must(t, os.WriteFile(filepath.Join(top, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644))
		}
	}
}

func removeGroups(name string) {
	for _, c := range controllers {
		top := filepath.Join("/sys/fs/cgroup", c, name)
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) { // those inside first
			_ = os.Remove(dir)
		}
	}
}

// command runs inside the host.
func (h *systemdHost) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-m", "-p", "-u", "-i", "-C", "--"}, args...)...)
	cmd.WaitDelay = time.Second // nsenter's child outlives it, with the pipe open
	return cmd
}

func (h *systemdHost) run(args ...string) string {
	h.t.Helper()
	out, err := h.command(h.t.Context(), args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// install puts the agent on the host as its package would, and makes it a node.
func (h *systemdHost) install(w *world, name string, port int) {
	h.t.Helper()
	must(h.t, os.MkdirAll(filepath.Join(h.root, "opt/gestor"), 0o755))
	must(h.t, os.CopyFS(filepath.Join(h.root, "opt/gestor/bin"), os.DirFS(bin)))
	unit, err := os.ReadFile("../deploy/systemd/gestor-agent.service")
	must(h.t, err)
	must(h.t, os.WriteFile(filepath.Join(h.root, "etc/systemd/system/gestor-agent.service"), unit, 0o644))
	must(h.t, os.MkdirAll(filepath.Join(h.root, "etc/gestor-agent"), 0o755))
	etc := filepath.Join(h.root, "etc/gestor-agent")
	must(h.t, os.WriteFile(filepath.Join(etc, "agent.toml"), fmt.Appendf(nil, "http_port = %d\n", port), 0o600))
	must(h.t, os.WriteFile(filepath.Join(etc, "policy.toml"), fmt.Appendf(nil, "allow_local_repositories = [%q]\n", w.Dir), 0o600))
	_ = os.Remove(filepath.Join(h.root, "etc/nginx/sites-enabled/default")) // its port may be taken outside
	h.run("systemctl", "start", "nginx")
	h.run("systemctl", "daemon-reload")

	token := query[struct {
		Token string `json:"token"`
	}](w, "nodes", "join-command", name).Token
	h.run("env", "GESTOR_TOKEN="+token, "/opt/gestor/bin/gestor-agent", "join", "--server", w.URL)
	h.run("systemctl", "start", "gestor-agent")
	w.until(name+" to be connected", func() bool { return strings.Contains(w.cli("nodes", "show", name), "connected") })
}

func TestSystemd_AppsAndBuildsRunInUnitsOfTheirOwn(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	h := bootSystemd(t, w.Dir)
	port, err := stack.FreePort(t.Context())
	must(t, err)
	h.install(w, "web-1", port)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	w.cli("apps", "create", "app", "--repository", r.Dir, "--branch", "main", "--node", "web-1", "--watch", "1s")
	w.cli("apps", "env", "set", "app", "GREETING=good day to 'you'")
	w.cli("deploy", "app")
	w.serves(url, "v0")
	w.serves(url+"env", "good day to 'you'")
	if units := h.run("systemctl", "list-units", "--no-legend", "--plain", "gestor-app-*"); !strings.Contains(units, "running") {
		t.Errorf("the units are %q, want one of the app running", units)
	}

	pid := h.run("systemctl", "show", "-p", "MainPID", "--value", "gestor-agent")
	h.run("systemctl", "kill", "-s", "KILL", "gestor-agent")
	w.serves(url, "v0")
	w.until("systemd to start the agent again", func() bool {
		return h.run("systemctl", "show", "-p", "MainPID", "--value", "gestor-agent") != pid &&
			strings.Contains(w.cli("nodes", "show", "web-1"), "connected")
	})

	result := w.underLoad(url, func() {
		w.commit(r, "server.js", strings.ReplaceAll(nodeServer, "VERSION", "v1"))
		w.cli("deploy", "app")
	})
	if len(result.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(result.Failures), result.Total, result.Failures[0])
	}
	w.serves(url, "v1")

	w.cli("apps", "set", "app", "--build-command", "tail -f /dev/null")
	done := w.background("build", "app")
	buildUnits := func() string { return h.run("systemctl", "list-units", "--no-legend", "--plain", "gestor-step-*") }
	w.until("the build to run", func() bool { return w.taskIn("app", "build", "RUNNING") && buildUnits() != "" })
	w.cli("builds", "cancel", "app", "3")
	_ = done() // it was cancelled
	w.until("the build's unit to be gone", func() bool { return buildUnits() == "" })
}
