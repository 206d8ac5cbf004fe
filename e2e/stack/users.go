package stack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// uidBlock is how many uids a stack may use.
const uidBlock = 1000

// freeUIDs is the beginning of a block of uids that no user of this machine is in, so that stacks side by side, a demo
// and a test say, do not claim each other's users.
func freeUIDs() (int, error) {
	first := 100_000
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		for line := range bytes.Lines(raw) {
			fields := strings.Split(string(line), ":")
			if len(fields) < 3 {
				continue
			}
			if id, err := strconv.Atoi(strings.TrimSpace(fields[2])); err == nil && id >= first && id < 60_000_000 {
				first = (id/uidBlock + 1) * uidBlock
			}
		}
	}
	return first, nil
}

// RemoveUsers removes the users the agents made for their apps.
func (s *Stack) RemoveUsers(ctx context.Context) error {
	raw, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(raw) {
		fields := strings.Split(string(line), ":")
		if len(fields) < 6 || !strings.HasPrefix(fields[5], s.Dir+"/") {
			continue
		}
		if out, err := exec.CommandContext(ctx, "userdel", fields[0]).CombinedOutput(); err != nil {
			return fmt.Errorf("userdel %s: %w: %s", fields[0], err, out)
		}
	}
	return nil
}
