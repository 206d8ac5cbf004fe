package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// memory reads the resident size of the server and of an agent that have done nothing for a while.
func (b *bench) memory(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Second):
	}
	for _, p := range []struct {
		name string
		pid  int
	}{{"gestor-server, idle, 3 agents", b.stack.Server.Pid()}, {"gestor-agent, idle", b.stack.Agents[0].Pid()}} {
		total, private, err := resident(p.pid)
		if err != nil {
			return err
		}
		fmt.Printf("%-46s %d MB resident, %d MB of it private\n", p.name, total>>20, private>>20)
	}
	return nil
}

// resident is a process's resident memory in bytes, and the part not backed by a file.
func resident(pid int) (total, anonymous int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(raw)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			total = kb << 10
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kb); n == 1 {
			anonymous = kb << 10
		}
	}
	return total, anonymous, nil
}
