package stack

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// stopApps ends what outlives the agent by design: the supervisors of its apps and its web server. On a host that is
// what the operator wants to keep; on a developer's machine nothing should be left behind.
func (a *Agent) stopApps() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // must also run while the caller is being ended
	defer cancel()
	_ = Poll(ctx, "the apps to end", func(context.Context) (bool, error) {
		pids := a.processes()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		return len(pids) == 0, nil
	})
	for _, pid := range a.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes are those whose command line names the agent's own directory.
func (a *Agent) processes() []int {
	dir := []byte(filepath.Dir(a.DataDir) + "/")
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var pids []int
	for _, line := range lines {
		raw, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(raw, dir) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
