package lab_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack/lab"
)

func open(t *testing.T, hosts ...string) *lab.Network {
	t.Helper()
	n, err := lab.Open(t.Context(), t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	for _, host := range hosts {
		_, err := n.Add(t.Context(), host)
		must(t, err)
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reaches reports whether a TCP connection from one host to another comes about within a moment.
func reaches(t *testing.T, n *lab.Network, from, to string, port string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	path, args := n.Command(from, "bash", "-c", "exec 3<>/dev/tcp/"+n.Address(to)+"/"+port)
	return exec.CommandContext(ctx, path, args...).Run() == nil
}

// listenOn runs a program that listens on a host until the test ends.
func listenOn(t *testing.T, n *lab.Network, host, port string) {
	t.Helper()
	path, args := n.Command(host, os.Args[0], "-test.run=^TestListens$")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "LAB_LISTEN="+n.Address(host)+":"+port)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	word := make([]byte, len("listening"))
	_, err = out.Read(word)
	must(t, err)
}

// TestListens is a program for the other tests: it listens where it is told until it is killed.
func TestListens(t *testing.T) {
	address := os.Getenv("LAB_LISTEN")
	if address == "" {
		return
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	must(t, err)
	_, _ = os.Stdout.WriteString("listening")
	for {
		conn, err := l.Accept()
		must(t, err)
		_ = conn.Close()
	}
}

func TestNetwork_CutsOneWayBothWaysAndAPortAndHeals(t *testing.T) {
	n := open(t, "a", "b", "c")
	for _, host := range []string{"a", "b", "c"} {
		listenOn(t, n, host, "7001")
	}
	listenOn(t, n, "b", "7002")
	check := func(what string, want bool, from, to, port string) {
		t.Helper()
		if got := reaches(t, n, from, to, port); got != want {
			t.Errorf("%s: %s reaches %s:%s is %v, want %v", what, from, to, port, got, want)
		}
	}
	check("at first", true, "a", "b", "7001")
	check("at first", true, "b", "a", "7001")

	must(t, n.CutPort(t.Context(), "a", "b", 7001))
	check("with a port closed", false, "a", "b", "7001")
	check("with a port closed", true, "a", "b", "7002")
	must(t, n.Heal(t.Context()))

	must(t, n.Isolate(t.Context(), "a"))
	check("isolated", false, "a", "b", "7001")
	check("isolated", false, "c", "a", "7001")
	check("isolated", true, "b", "c", "7001")
	conn, err := net.DialTimeout("tcp", n.Address("a")+":7001", time.Second)
	must(t, err) // this machine still reaches it
	_ = conn.Close()

	must(t, n.CutBoth(t.Context(), lab.Here, "c"))
	if conn, err := net.DialTimeout("tcp", n.Address("c")+":7001", 300*time.Millisecond); err == nil {
		_ = conn.Close()
		t.Error("this machine reaches c, want it cut")
	}
	must(t, n.Heal(t.Context()))
	check("healed", true, "a", "b", "7001")
	check("healed", true, "b", "a", "7001")
}

// A one-way cut must drop only one direction, which a TCP handshake cannot show: it needs both. Datagrams do.
func TestNetwork_OneWayCutLetsTheOtherWayPass(t *testing.T) {
	n := open(t, "a")
	l, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", n.Address(lab.Here)+":0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.LocalAddr().String())
	must(t, err)
	arrives := func() bool {
		path, args := n.Command("a", "bash", "-c", "echo hello > /dev/udp/"+n.Address(lab.Here)+"/"+port)
		must(t, exec.CommandContext(t.Context(), path, args...).Run())
		must(t, l.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
		buffer := make([]byte, 16)
		_, _, err := l.ReadFrom(buffer)
		return err == nil && strings.HasPrefix(string(buffer), "hello")
	}
	must(t, n.Cut(t.Context(), lab.Here, "a"))
	if !arrives() {
		t.Error("nothing arrives from a, want only what goes to a cut")
	}
	must(t, n.Heal(t.Context()))
	must(t, n.Cut(t.Context(), "a", lab.Here))
	if arrives() {
		t.Error("something arrives from a, want it cut")
	}
}

func TestNetwork_SeveralFitBesideEachOther(t *testing.T) {
	a, b := open(t, "x"), open(t, "x")
	if a.Address("x") == b.Address("x") {
		t.Errorf("both networks use %s", a.Address("x"))
	}
}

func TestNetwork_WhatAKilledRunLeftIsClearedAway(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("LAB_LEAVE") != "" {
		n, err := lab.Open(t.Context(), os.Getenv("LAB_LEAVE"))
		must(t, err)
		_, err = n.Add(t.Context(), "x")
		must(t, err)
		_, _ = os.Stdout.WriteString("left " + n.Address("x") + "\n")
		must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	must(t, os.Mkdir(filepath.Join(dir, "disk"), 0o755))
	must(t, syscall.Mount("tmpfs", filepath.Join(dir, "disk"), "tmpfs", 0, "size=1m"))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "LAB_LEAVE="+dir)
	out, _ := cmd.Output()
	if !strings.Contains(string(out), "left 10.213.") {
		t.Fatalf("the other process printed %q, want it to have made a network", out)
	}
	open(t)
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("something is mounted below %s still (%v)", dir, err)
	}
}
