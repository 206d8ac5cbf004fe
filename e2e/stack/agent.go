package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Agent is a running agent and where it keeps things.
type Agent struct {
	*Process
	Node       string // the node's name
	DataDir    string
	DeployRoot string
	HTTPPort   int
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
