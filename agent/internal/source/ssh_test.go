package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// nameUser makes the tests' user known by name, without which ssh does not run; the agent makes the app's own.
func nameUser(t *testing.T) {
	t.Helper()
	const name = "gestor-test-ssh"
	out, err := exec.CommandContext(t.Context(), "useradd", "--system", "--uid", strconv.Itoa(testUID), "--user-group", "--no-create-home",
		"--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name).CombinedOutput()
	if err != nil {
		t.Fatalf("useradd: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "userdel", name).Run() })
}

// startSSHD runs a real sshd that lets one key in as root, and returns its port and its known_hosts line.
func startSSHD(t *testing.T, dir string) (port, knownHosts string, key []byte) {
	t.Helper()
	for _, name := range []string{"host", "client"} {
		run(t, dir, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	must(t, os.MkdirAll("/run/sshd", 0o755))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.CommandContext(context.Background(), "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", filepath.Join(dir, "host"), "-p", port,
		"-o", "ListenAddress=127.0.0.1", "-o", "AuthorizedKeysFile="+filepath.Join(dir, "client.pub"), "-o", "StrictModes=no",
		"-o", "PidFile=none", "-o", "UsePAM=no", "-o", "PermitRootLogin=prohibit-password")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("sshd does not answer")
		}
	}
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	must(t, err)
	key, err = os.ReadFile(filepath.Join(dir, "client"))
	must(t, err)
	return port, fmt.Sprintf("[127.0.0.1]:%s %s", port, public), key
}

func TestFetch_OverSSHWithTheDeployKeyAndThePinnedHostKey(t *testing.T) {
	nameUser(t)
	r := newRig(t, Options{Policy: Policy{PrivateHosts: []string{"127.0.0.1"}}})
	if _, err := user.LookupId(fmt.Sprint(testUID)); err != nil {
		t.Cleanup(func() {
			_ = exec.CommandContext(context.Background(), "userdel", fmt.Sprintf("gestor-%d", testUID)).Run()
		})
	}
	repo := r.repo(t)
	run(t, repo, "chown", "-R", "root:root", ".")
	keys := filepath.Join(r.dir, "keys")
	must(t, os.Mkdir(keys, 0o700))
	port, known, key := startSSHD(t, keys)
	s := &agentv1.Source{Repository: "ssh://root@127.0.0.1:" + port + repo, Ref: "main", KnownHosts: known}

	commit, _, err := r.fetch(t.Context(), t, s, key)
	if err != nil || commit.Subject != "the first" {
		t.Fatalf("got %+v, %v", commit, err)
	}

	run(t, keys, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other")
	other, err := os.ReadFile(filepath.Join(keys, "other"))
	must(t, err)
	if _, _, err := r.fetch(t.Context(), t, s, other); !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "deploy key") {
		t.Errorf("a key that is not allowed: %v", err)
	}
	otherPublic, err := os.ReadFile(filepath.Join(keys, "other.pub"))
	must(t, err)
	s.KnownHosts = fmt.Sprintf("[127.0.0.1]:%s %s", port, otherPublic)
	if _, _, err := r.fetch(t.Context(), t, s, key); !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "ssh-keyscan") {
		t.Errorf("a host with another key: %v", err)
	}
}
