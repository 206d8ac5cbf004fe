package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
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
	port, err := freePort(ctx)
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
		"-F", "/dev/null", "-i", h.key, "-p", fmt.Sprint(h.port), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
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

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func waitListening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", address, err)
		case <-tick.C:
		}
	}
}
