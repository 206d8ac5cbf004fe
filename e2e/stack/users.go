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

// RemoveUsers removes the users and groups the agents made for their apps.
func (s *Stack) RemoveUsers(ctx context.Context) error {
	for _, kind := range []struct{ file, remove string }{{"/etc/passwd", "userdel"}, {"/etc/group", "groupdel"}} {
		names, err := s.namesIn(kind.file)
		if err != nil {
			return err
		}
		for _, name := range names {
			if out, err := exec.CommandContext(ctx, kind.remove, name).CombinedOutput(); err != nil {
				return fmt.Errorf("%s %s: %w: %s", kind.remove, name, err, out)
			}
		}
	}
	return nil
}

// namesIn are the names in a file like /etc/passwd whose ids are in the stack's block.
func (s *Stack) namesIn(file string) ([]string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range bytes.Lines(raw) {
		fields := strings.Split(string(line), ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil && id >= s.firstUID && id < s.firstUID+uidBlock {
			names = append(names, fields[0])
		}
	}
	return names, nil
}
