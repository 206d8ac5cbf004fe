package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// sshHost is an sshd of its own on a loopback port: a host as a tool without an agent sees it.
type sshHost struct {
	port   int
	key    string // the client's private key
	config string
	cmd    *exec.Cmd
}

func startSSH(ctx context.Context, dir string) (*sshHost, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &sshHost{key: filepath.Join(dir, "client"), config: filepath.Join(dir, "sshd_config")}
	for _, k := range []string{h.key, filepath.Join(dir, "host")} {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", k).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	port, err := stack.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	h.port = port
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n",
		port, dir, h.key)
	if err := os.WriteFile(h.config, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	h.cmd = exec.CommandContext(ctx, "/usr/sbin/sshd", "-D", "-f", h.config)
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start sshd: %w", err)
	}
	return h, waitListening(ctx, fmt.Sprintf("127.0.0.1:%d", port))
}

// command is one ssh command, with a connection of its own as such tools make it.
func (h *sshHost) command(ctx context.Context, args ...string) *exec.Cmd {
	base := []string{
		"-F", "/dev/null", "-i", h.key, "-p", strconv.Itoa(h.port), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "127.0.0.1", "--",
	}
	return exec.CommandContext(ctx, "ssh", append(base, args...)...)
}

func (h *sshHost) close() {
	if h.cmd != nil && h.cmd.Process != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
	}
}

func waitListening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return stack.Poll(ctx, "something to listen on "+address, func(ctx context.Context) (bool, error) {
		return stack.Listening(ctx, address)
	})
}
