package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/saas-gestor/gestor/e2e/stack/lab"
)

// Options say what to run. The zero value of each field but Dir and Bin is usable.
type Options struct {
	Dir       string // where everything lives
	Bin       string // directory with the built programs
	Agents    int    // how many; 1 if 0
	Port      int    // the server's port; a free one if 0, and the same one again on a second start
	HTTPPorts []int  // the agents' web ports; free ones if absent
	Servers   int    // how many, an odd number; 1 if 0. Several have a host each in a network of their own, and end for good with the stack
	Network   bool   // give a single server a host of its own too, so that others can join it
	Settings  string // more of each server's settings, TOML
	Disks     bool   // give each server on a host of its own a disk of its own, which can be full, slow or stuck
}

// Stack is running servers with their agents.
type Stack struct {
	Dir     string
	Bin     string
	URL     string   // of the first server
	Server  *Process // the first server
	Servers []*Server
	Agents  []*Agent
	Network *lab.Network // nil for a single server that shares this machine's address

	firstUID int
	ports    settled
	disks    bool
	settings string
	hosts    int         // made so far
	pin      []byte      // of the servers' root
	token    string      // of the session that clients share
	made     []*Server   // on hosts of their own
	opened   []*lab.Disk // of all hosts
}

// Open starts the servers, claims the installation if it is new, starts the agents, joining those that are new, and
// returns once all are connected. What was started is ended again if that fails.
func Open(ctx context.Context, o Options) (*Stack, error) {
	o.Agents, o.Servers = max(o.Agents, 1), max(o.Servers, 1)
	ports, err := settle(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Stack{Dir: o.Dir, Bin: o.Bin, firstUID: ports.FirstUID, ports: ports, disks: o.Disks, settings: o.Settings}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) open(ctx context.Context, o Options) error {
	if err := s.openFirst(ctx, o); err != nil {
		return err
	}
	for len(s.Servers) < o.Servers {
		if _, err := s.AddServer(ctx); err != nil {
			return err
		}
	}
	if o.Servers > 1 {
		if err := s.WaitVoters(ctx, o.Servers); err != nil {
			return err
		}
	}
	for i, port := range s.ports.HTTPPorts {
		a, err := s.openAgent(ctx, fmt.Sprintf("node-%d", i+1), port)
		if err != nil {
			return err
		}
		s.Agents = append(s.Agents, a)
	}
	return s.WaitConnected(ctx)
}

// openFirst starts the first server and claims the installation.
func (s *Stack) openFirst(ctx context.Context, o Options) error {
	first, err := s.first(ctx, o)
	if err != nil {
		return err
	}
	s.Servers, s.Server, s.URL = []*Server{first}, first.Process, first.URL()
	if err := first.Start(); err != nil {
		return err
	}
	if err := s.WaitListening(ctx, first.Address, first.Process); err != nil {
		return err
	}
	return s.claim(ctx, first.DataDir)
}

func (s *Stack) first(ctx context.Context, o Options) (*Server, error) {
	if o.Servers == 1 && !o.Network {
		return s.here(s.ports)
	}
	var err error
	if s.Network, err = lab.Open(ctx, o.Dir); err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	return s.NewHost(ctx, false)
}

// claim makes the first user, unless there is one.
func (s *Stack) claim(ctx context.Context, data string) error {
	secret, err := os.ReadFile(filepath.Join(data, "setup-secret"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	password, err := s.password()
	if err != nil {
		return err
	}
	pin, err := os.ReadFile(filepath.Join(data, "server-root.pin"))
	if err != nil {
		return err
	}
	cmd := s.Command(ctx, "setup", s.URL, "--secret", strings.TrimSpace(string(secret)),
		"--pin", strings.TrimSpace(string(pin)), "--tenant", "Demo", "--email", "admin@example.com", "--password-stdin")
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gestor setup: %w: %s", err, out)
	}
	return nil
}

// password is the administrator's password, made on first use and kept in the stack's directory.
func (s *Stack) password() (string, error) {
	path := filepath.Join(s.Dir, "admin-password")
	if raw, err := os.ReadFile(path); err == nil {
		return string(raw), nil
	}
	password := rand.Text()
	return password, os.WriteFile(path, []byte(password), 0o600)
}

// Close ends the agents, what they run for the stack, and the servers, and takes their network and disks down. What is not
// on such a disk stays.
func (s *Stack) Close() error {
	for _, a := range s.Agents {
		a.Stop()
		a.stopApps()
	}
	var errs []error
	for _, disk := range s.opened { // first: a process that waits for a stuck disk does not end
		errs = append(errs, disk.Repair())
	}
	for _, server := range s.Servers {
		_ = server.Resume() // one that is paused cannot stop; one that does not run need not
		if len(s.Servers) > 1 {
			server.Kill() // nobody waits for what they would hand over
		}
		server.Stop()
	}
	for _, server := range s.made { // those that were never one of the servers, too
		server.Kill()
	}
	for _, disk := range s.opened {
		errs = append(errs, disk.Close())
	}
	if s.Network != nil {
		errs = append(errs, s.Network.Close())
	}
	return errors.Join(errs...)
}
