package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Options say what to run. The zero value of each field but Dir and Bin is usable.
type Options struct {
	Dir       string // where everything lives
	Bin       string // directory with the built programs
	Agents    int    // how many; 1 if 0
	Port      int    // the server's port; a free one if 0, and the same one again on a second start
	HTTPPorts []int  // the agents' web ports; free ones if absent
}

// Stack is a running server with its agents.
type Stack struct {
	Dir    string
	Bin    string
	URL    string // of the server
	Server *Process
	Agents []*Agent

	firstUID int
}

// Open starts the server, claims it if it is new, starts the agents, joining those that are new, and returns once
// all are connected. What was started is ended again if that fails.
func Open(ctx context.Context, o Options) (*Stack, error) {
	o.Agents = max(o.Agents, 1)
	ports, err := settle(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Stack{Dir: o.Dir, Bin: o.Bin, URL: fmt.Sprintf("https://127.0.0.1:%d", ports.Port), firstUID: ports.FirstUID}
	if err := s.open(ctx, ports); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Stack) open(ctx context.Context, ports settled) error {
	address := strings.TrimPrefix(s.URL, "https://")
	data := filepath.Join(s.Dir, "server")
	config := filepath.Join(s.Dir, "server.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "data_dir = %q\nlisten = %q\npublic_urls = [%q]\nfirst_uid = %d\n",
		data, address, s.URL, ports.FirstUID), 0o600); err != nil {
		return err
	}
	s.Server = &Process{
		Name: "gestor-server", Log: filepath.Join(s.Dir, "server.log"), path: filepath.Join(s.Bin, "gestor-server"),
		args: []string{"run", "--config", config},
	}
	if err := s.Server.Start(); err != nil {
		return err
	}
	if err := s.WaitListening(ctx, address, s.Server); err != nil {
		return err
	}
	if err := s.claim(ctx, data); err != nil {
		return err
	}
	for i, port := range ports.HTTPPorts {
		a, err := s.openAgent(ctx, fmt.Sprintf("node-%d", i+1), port)
		if err != nil {
			return err
		}
		s.Agents = append(s.Agents, a)
	}
	return s.WaitConnected(ctx)
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

// Close ends the agents, what they run for the stack, and the server. The data stays.
func (s *Stack) Close() {
	for _, a := range s.Agents {
		a.Stop()
		a.stopApps()
	}
	if s.Server != nil {
		s.Server.Stop()
	}
}
