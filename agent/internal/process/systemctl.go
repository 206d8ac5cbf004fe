package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemctl runs a verb and returns its output.
func systemctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--no-pager", "--no-ask-password"}, args...)...) //nolint:gosec // argv, no shell
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", args[0], err, strings.TrimSpace(problem.String()))
	}
	return out.String(), nil
}

// properties reads the output of systemctl show. "[not set]" is as good as absent.
func properties(shown string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(shown) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && v != "[not set]" {
			p[k] = v
		}
	}
	return p
}

// stopUnit kills all processes of a unit at once.
func stopUnit(unit string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // the step's context has ended
	defer cancel()
	_, _ = systemctl(ctx, "kill", "--kill-who=all", "--signal=SIGKILL", unit)
	_, _ = systemctl(ctx, "stop", unit)
}

// ownUnit is the service this process belongs to; empty if it belongs to none.
func ownUnit() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

func signalName(n int) string { return syscall.Signal(n).String() }

// writeEnvFile writes variables in a form systemd reads; root's alone.
func writeEnvFile(path string, env []string) error {
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
	for _, kv := range env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || strings.ContainsAny(name, " \t\n\"'#\\$") || strings.ContainsRune(value, 0) {
			return errors.New("a variable is not NAME=value")
		}
		fmt.Fprintf(&b, "%s=\"%s\"\n", name, quote.Replace(value))
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write env file: %w", err)
	}
	return os.Rename(tmp, path)
}

// sinceBoot is the time of the monotonic clock that systemd counts by.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
