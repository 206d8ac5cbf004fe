package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
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

// Agent is a running agent and where it keeps things.
type Agent struct {
	*Process
	Node       string // the node's name
	DataDir    string
	DeployRoot string
	HTTPPort   int
}

// settled is what must be the same again on a second start.
type settled struct {
	Port      int   `json:"port"`
	HTTPPorts []int `json:"http_ports"`
	FirstUID  int   `json:"first_uid"`
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

func (s *Stack) openAgent(ctx context.Context, name string, port int) (*Agent, error) {
	dir := filepath.Join(s.Dir, name)
	a := &Agent{Node: name, DataDir: filepath.Join(dir, "data"), DeployRoot: filepath.Join(dir, "deploy"), HTTPPort: port}
	config := filepath.Join(dir, "agent.toml")
	if err := writeAgentConfig(config, s, a); err != nil {
		return nil, err
	}
	a.Process = &Process{
		Name: name, Log: filepath.Join(dir, "agent.log"), path: filepath.Join(s.Bin, "gestor-agent"),
		args: []string{"run", "--config", config},
	}
	if _, err := os.Stat(filepath.Join(a.DataDir, "identity", "identity.json")); errors.Is(err, os.ErrNotExist) {
		if err := s.join(ctx, name, config); err != nil {
			return nil, err
		}
	}
	return a, a.Start()
}

func writeAgentConfig(path string, s *Stack, a *Agent) error {
	for _, dir := range []string{filepath.Dir(path), a.DataDir, a.DeployRoot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Each agent draws ports for its apps from a range of its own.
	first := 20000 + (a.HTTPPort%90)*100
	policy := filepath.Join(filepath.Dir(path), "policy.toml")
	config := fmt.Sprintf(`data_dir = %q
deploy_root = %q
http_port = %d
runner_dir = %q
policy_file = %q

[app_ports]
first = %d
last = %d

[nginx]
mode = "managed"
`, a.DataDir, a.DeployRoot, a.HTTPPort, s.Bin, policy, first, first+99)
	if err := os.WriteFile(policy, fmt.Appendf(nil, "allow_local_repositories = [%q]\nallow_private_addresses = true\n", s.Dir), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(config), 0o600)
}

// join makes the host a node with a fresh one-use token.
func (s *Stack) join(ctx context.Context, name, config string) error {
	out, err := s.CLI(ctx, "nodes", "join-command", name, "--json")
	if err != nil {
		return err
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("read the join command: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "gestor-agent"), "join", "--config", config, "--server", s.URL)
	cmd.Env = append(os.Environ(), "GESTOR_TOKEN="+answer.Token)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gestor-agent join: %w: %s", err, out)
	}
	return nil
}

// Command is the gestor command with the stack's own contexts file.
func (s *Stack) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "gestor"), args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.Dir, "config"), "NO_COLOR=1")
	return cmd
}

// CLIError is a gestor command that ended with a code other than 0.
type CLIError struct {
	Args   []string
	Code   int
	Stdout string
	Stderr string
}

// Error is the command, its code and what it printed.
func (e *CLIError) Error() string {
	return fmt.Sprintf("gestor %s ended with %d: %s%s", strings.Join(e.Args, " "), e.Code, e.Stdout, e.Stderr)
}

// CLI runs the gestor command and returns what it printed on standard output. A code other than 0 is a *CLIError.
func (s *Stack) CLI(ctx context.Context, args ...string) (string, error) {
	cmd := s.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), &CLIError{Args: args, Code: exit.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	}
	return stdout.String(), err
}

// WaitConnected waits until every agent is connected.
func (s *Stack) WaitConnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return Poll(ctx, "all agents to be connected", func(ctx context.Context) (bool, error) {
		for _, a := range s.Agents {
			if ok, err := s.connected(ctx, a); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

func (s *Stack) connected(ctx context.Context, a *Agent) (bool, error) {
	out, err := s.CLI(ctx, "nodes", "show", a.Node, "--json")
	if err != nil {
		return false, nil //nolint:nilerr // the server may be on its way
	}
	var answer struct {
		Node struct {
			Status string `json:"status"`
		} `json:"node"`
	}
	err = json.Unmarshal([]byte(out), &answer)
	return answer.Node.Status == "NODE_STATUS_CONNECTED", err
}

// WaitListening waits until something listens on address, or p has ended.
func (s *Stack) WaitListening(ctx context.Context, address string, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return Poll(ctx, p.Name+" to listen on "+address, func(ctx context.Context) (bool, error) {
		select {
		case <-p.Done():
			log, _ := os.ReadFile(p.Log)
			return false, fmt.Errorf("%s ended: %s", p.Name, log)
		default:
			return Listening(ctx, address)
		}
	})
}

// Listening reports whether something listens on a TCP address, in the form that Poll asks for.
func Listening(ctx context.Context, address string) (bool, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, nil //nolint:nilerr // that is the answer
	}
	return true, conn.Close()
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

// Poll asks done every 20 ms until it says yes, fails, or ctx ends; what says what is being waited for.
func Poll(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// settle chooses ports, or reads those chosen before.
func settle(ctx context.Context, o Options) (settled, error) {
	path := filepath.Join(o.Dir, "ports.json")
	var ports settled
	if raw, err := os.ReadFile(path); err == nil {
		return ports, json.Unmarshal(raw, &ports)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return ports, err
	}
	ports = settled{Port: o.Port, HTTPPorts: o.HTTPPorts}
	var err error
	if ports.FirstUID, err = freeUIDs(); err != nil {
		return ports, err
	}
	if ports.Port == 0 {
		if ports.Port, err = FreePort(ctx); err != nil {
			return ports, err
		}
	}
	for len(ports.HTTPPorts) < o.Agents {
		port, err := FreePort(ctx)
		if err != nil {
			return ports, err
		}
		ports.HTTPPorts = append(ports.HTTPPorts, port)
	}
	raw, err := json.Marshal(ports)
	if err != nil {
		return ports, err
	}
	return ports, os.WriteFile(path, raw, 0o600)
}

// FreePort is a loopback TCP port that nothing listens on right now.
func FreePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address, err := netip.ParseAddrPort(l.Addr().String())
	return int(address.Port()), errors.Join(err, l.Close())
}
