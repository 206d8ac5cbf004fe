package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clearOwner ends the processes whose command line names the directory, and unmounts what is mounted below it.
func clearOwner(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for len(processes(dir)) > 0 {
		for _, pid := range processes(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of %s do not end: %w", processes(dir), dir, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	points, err := mounted(dir)
	for _, point := range points {
		err = errors.Join(err, unix.Unmount(point, unix.MNT_DETACH))
	}
	return err
}

// processes are those whose command line names something in the directory.
func processes(dir string) []int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	var pids []int
	for _, line := range lines {
		raw, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(raw, []byte(dir+"/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mountsBelow reads a table like /proc/mounts.
func mountsBelow(table, dir string) []string {
	var points []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			points = append(points, fields[1])
		}
	}
	slices.Reverse(points) // what was mounted later is inside what was mounted earlier
	return points
}
