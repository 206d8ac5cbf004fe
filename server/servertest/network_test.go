package servertest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/servertest"
)

// pair is a connection from "a" to "b" and its other side.
func pair(t *testing.T, n *servertest.Network) (a, b net.Conn) {
	t.Helper()
	end := n.Endpoint("b")
	l, err := end.Listen(t.Context(), end.IP+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	a, err = n.Endpoint("a").Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(a.Close(), b.Close()) })
	return a, b
}

// say writes on one side; hear checks what arrives at the other.
func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

// silent checks that nothing arrives for a while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v, want silence", n, err)
	}
}

func TestNetwork_CarriesBothWaysFromTheEndpointsOwnAddress(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, b := pair(t, n)
	say(t, a, "question")
	hear(t, b, "question")
	say(t, b, "answer")
	hear(t, a, "answer")
	if host, _, _ := net.SplitHostPort(b.RemoteAddr().String()); host != n.Endpoint("a").IP {
		t.Errorf("a comes from %s, its address is %s", host, n.Endpoint("a").IP)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestCut_HoldsOneDirectionBackAndLosesNothing(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, b := pair(t, n)
	n.Cut("a", "b")
	say(t, a, "held ")
	silent(t, b)
	say(t, b, "through")
	hear(t, a, "through")
	say(t, a, "back")
	n.Heal()
	hear(t, b, "held back")
}

func TestPartitionIsolateAndPause_StopBothDirectionsUntilTheyEnd(t *testing.T) {
	type fault struct {
		begin func(n *servertest.Network)
		end   func(n *servertest.Network)
	}
	faults := map[string]fault{
		"partition": {func(n *servertest.Network) { n.Partition("a", "b") }, (*servertest.Network).Heal},
		"isolate a": {func(n *servertest.Network) { n.Isolate("a") }, (*servertest.Network).Heal},
		"isolate b": {func(n *servertest.Network) { n.Isolate("b") }, (*servertest.Network).Heal},
		"pause":     {func(n *servertest.Network) { n.Pause("b") }, func(n *servertest.Network) { n.Resume("b") }},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			n := servertest.NewNetwork(t)
			a, b := pair(t, n)
			f.begin(n)
			say(t, a, "to b")
			say(t, b, "to a")
			silent(t, a)
			silent(t, b)
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := n.Endpoint("a").Dial(short, a.RemoteAddr().String()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a dial got %v", err)
			}
			f.end(n)
			hear(t, a, "to a")
			hear(t, b, "to b")
		})
	}
}

func TestCut_ReachesNobodyElse(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, b := pair(t, n)
	n.Isolate("c")
	n.Partition("a", "c")
	say(t, a, "on")
	hear(t, b, "on")
}

func TestCut_MakesAWriterWaitOnceTheWindowIsFull(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, _ := pair(t, n)
	n.Cut("a", "b")
	if err := a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(make([]byte, 4<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestKill_ResetsAndRefusesUntilRevived(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, b := pair(t, n)
	address := a.RemoteAddr().String()
	n.Kill("b")
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a read got %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side read %v", err)
	}
	if _, err := n.Endpoint("a").Dial(t.Context(), address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dial got %v", err)
	}
	n.Revive("b")
	c, err := n.Endpoint("a").Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestDelay_HoldsEveryPieceForItsTime(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, b := pair(t, n)
	n.Delay(60 * time.Millisecond)
	began := time.Now()
	say(t, a, "slow")
	hear(t, b, "slow")
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

func TestReadDeadline_MayBeMovedWhileSomebodyReads(t *testing.T) {
	n := servertest.NewNetwork(t)
	a, _ := pair(t, n)
	read := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		read <- err
	}()
	if err := a.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}
