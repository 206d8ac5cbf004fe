package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// killDescendants kills every process below pid, again until none is left: one that forks meanwhile is found in the
// next round, because orphans become children of pid, which is a subreaper.
func killDescendants(pid int) {
	for range 1000 {
		below := descendants(pid)
		if len(below) == 0 {
			return
		}
		for _, p := range below {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		var status unix.WaitStatus
		for range below {
			if got, err := unix.Wait4(-1, &status, 0, nil); err != nil || got <= 0 {
				break
			}
		}
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(p); err == nil && s.state != 'Z' {
			children[s.parent] = append(children[s.parent], p)
		}
	}
	var below []int
	for next := children[pid]; len(next) > 0; {
		p := next[0]
		next = append(next[1:], children[p]...)
		below = append(below, p)
	}
	return below
}

// stat is what we need of /proc/<pid>/stat.
type stat struct {
	state  byte
	parent int
	start  uint64 // clock ticks since boot
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The name in parentheses may hold anything, also parentheses.
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 20 {
		return stat{}, fmt.Errorf("stat of process %d is malformed", pid)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	return stat{state: fields[0][0], parent: parent, start: start}, nil
}

// bootID changes with each start of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
