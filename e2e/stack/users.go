package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// uidBlock is how many uids a stack may use.
const uidBlock = 1000

// freeUIDs is the beginning of a block of uids that no user of this machine is in, so that stacks side by side, a demo
// and a test say, do not claim each other's users.
func freeUIDs() (int, error) {
	first := 100_000
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		accounts, err := accountsIn(file)
		if err != nil {
			return 0, err
		}
		for _, a := range accounts {
			if a.id >= first && a.id < 60_000_000 {
				first = (a.id/uidBlock + 1) * uidBlock
			}
		}
	}
	return first, nil
}

// RemoveUsers removes the users and groups the agents made for their apps.
func (s *Stack) RemoveUsers(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// What the kernel ends along with an agent takes a moment to be gone, and userdel refuses until then.
	if err := Poll(waiting, "the apps' processes to be gone", func(context.Context) (bool, error) { return !s.usersRun(), nil }); err != nil {
		return err
	}
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

// removeOrphans removes the users that an earlier stack in the same directory left when somebody deleted the directory.
func removeOrphans(ctx context.Context, dir string) error {
	accounts, err := accountsIn("/etc/passwd")
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if !strings.HasPrefix(a.home, dir+"/") {
			continue
		}
		if out, err := exec.CommandContext(ctx, "userdel", a.name).CombinedOutput(); err != nil {
			return fmt.Errorf("userdel %s: %w: %s", a.name, err, out)
		}
	}
	return nil
}

// usersRun reports whether a process of the stack's users is left.
func (s *Stack) usersRun() bool {
	files, _ := filepath.Glob("/proc/[0-9]*/status") // the pattern is right
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(raw), "\nUid:\t")
		uid, _, _ := strings.Cut(rest, "\t")
		if id, err := strconv.Atoi(uid); err == nil && id >= s.firstUID && id < s.firstUID+uidBlock {
			return true
		}
	}
	return false
}

// namesIn are the names in a file like /etc/passwd whose ids are in the stack's block.
func (s *Stack) namesIn(file string) ([]string, error) {
	accounts, err := accountsIn(file)
	var names []string
	for _, a := range accounts {
		if a.id >= s.firstUID && a.id < s.firstUID+uidBlock {
			names = append(names, a.name)
		}
	}
	return names, err
}

// account is a line of a file like /etc/passwd.
type account struct {
	name string
	id   int
	home string // of users
}

func accountsIn(file string) ([]account, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []account
	for line := range strings.Lines(string(raw)) {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil {
			a := account{name: fields[0], id: id}
			if len(fields) > 5 {
				a.home = fields[5]
			}
			all = append(all, a)
		}
	}
	return all, nil
}
