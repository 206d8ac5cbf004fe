package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// slots says how many networks fit beside each other, and where who uses them is written.
const (
	slots   = 200
	slotDir = "/run/gestor-lab"
)

// slot is a range of addresses, and the names that go with it. Who uses one holds the lock of its file, which the kernel
// takes back from a killed process, so that a leftover is known by a file that names its owner and has no lock.
type slot struct {
	number int
	file   *os.File
}

func (s *slot) name() string          { return fmt.Sprintf("gestor-lab-%d", s.number) }
func (s *slot) router() string        { return s.name() + "-router" }
func (s *slot) host(h string) string  { return s.name() + "-" + h }
func (s *slot) link() string          { return fmt.Sprintf("gestor-lab%d", s.number) }
func (s *slot) subnet() string        { return fmt.Sprintf("10.213.%d.0/24", s.number) }
func (s *slot) address(at int) string { return fmt.Sprintf("10.213.%d.%d", s.number, at) }

// takeSlot takes a slot whose range nothing on this machine uses, and clears away what a killed process left in others.
func takeSlot(ctx context.Context, owner string) (*slot, error) {
	if err := os.MkdirAll(slotDir, 0o755); err != nil {
		return nil, err
	}
	if err := clearLeftovers(ctx); err != nil {
		return nil, err
	}
	for number := range slots {
		s, err := lockSlot(number)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if used, err := s.inUse(); err != nil || used {
			_ = s.file.Close()
			continue
		}
		if err := os.WriteFile(s.file.Name(), []byte(owner), 0o600); err != nil {
			return nil, err
		}
		return s, nil
	}
	return nil, fmt.Errorf("all of 10.213.0.0 to 10.213.%d.255 is in use on this machine", slots-1)
}

// lockSlot takes the lock of a slot, nil if another process has it.
func lockSlot(number int) (*slot, error) {
	file, err := os.OpenFile(filepath.Join(slotDir, strconv.Itoa(number)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil //nolint:nilnil // there is no slot to have, and that is no error
		}
		return nil, err
	}
	return &slot{number: number, file: file}, nil
}

// inUse reports whether an interface of this machine has an address of the range.
func (s *slot) inUse() (bool, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	prefix := strings.TrimSuffix(s.address(0), "0")
	return slices.ContainsFunc(all, func(a net.Addr) bool { return strings.HasPrefix(a.String(), prefix) }), nil
}

// clearLeftovers takes down the networks whose processes were killed.
func clearLeftovers(ctx context.Context) error {
	files, err := filepath.Glob(slotDir + "/*")
	if err != nil {
		return err
	}
	for _, file := range files {
		var number int
		if _, err := fmt.Sscan(filepath.Base(file), &number); err != nil {
			continue
		}
		s, err := lockSlot(number)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		owner, err := os.ReadFile(file)
		if err != nil || len(owner) == 0 {
			_ = s.file.Close()
			continue
		}
		if err := errors.Join(clearOwner(ctx, string(owner)), s.close()); err != nil { //nolint:contextcheck // close goes on when the caller is being ended
			return fmt.Errorf("clear up after a killed run in %s: %w", owner, err)
		}
	}
	return nil
}

// close removes what is there of the slot's network and lets the slot go.
func (s *slot) close() error {
	var commands []string
	if _, err := net.InterfaceByName(s.link()); err == nil { // first: with a namespace it would go some time later
		commands = append(commands, "link del "+s.link())
	}
	for _, namespace := range namespaces(s.name()) {
		commands = append(commands, "netns del "+namespace)
	}
	var err error
	if len(commands) > 0 {
		err = ip(context.Background(), "", commands...) // also when the caller is being ended
	}
	return errors.Join(err, s.file.Truncate(0), s.file.Close())
}
