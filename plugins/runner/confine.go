package runner

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine closes this process to others of the same user and to more rights. It runs outside of the sandbox as the
// user of the builds: without this, what a build runs could reach the host through /proc/<pid>/root, or trace it.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the process to others: %w", err)
	}
	// This belongs to a thread, and the runtime has some already. Go cannot reach them all where C is linked in.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errors.Is(errno, syscall.ENOTSUP) {
		return noNewRights()
	}
	if errno != 0 {
		return fmt.Errorf("give up new rights: %w", errno)
	}
	return nil
}

func noNewRights() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new rights: %w", err)
	}
	return nil
}
