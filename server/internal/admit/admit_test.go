package admit_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/server/internal/admit"
)

// door is a listener that serves "hello" over HTTP/2 behind the lobby.
type door struct {
	address string
	refused atomic.Int64
}

// newDoor opens one. network tells whom a connection counts for.
func newDoor(t *testing.T, o admit.Options) *door {
	t.Helper()
	donor := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate to use
	t.Cleanup(donor.Close)
	raw, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{address: raw.Addr().String()}
	o.TLS = donor.TLS.Clone()
	o.TLS.NextProtos = []string{"h2", "http/1.1"}
	o.Refused = func(string) { d.refused.Add(1) }
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Protocols: protocols, TLSConfig: o.TLS, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "hello over %s", r.Proto) }),
	}
	l := admit.New(raw, o)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return d
}

func (d *door) get(t *testing.T) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true} // the donor's certificate is nobody's
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+d.address, nil)
	if err != nil {
		return "", err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// dial connects and says nothing.
func (d *door) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// manyNetworks makes every connection come from one of n networks in turn.
func manyNetworks(n int64) func(net.Addr) string {
	var count atomic.Int64
	return func(net.Addr) string { return fmt.Sprint("network ", count.Add(1)%n) }
}

func TestListener_TenThousandHalfOpenConnectionsKeepNoClientOut(t *testing.T) {
	const strangers, most = 10000, 512
	d := newDoor(t, admit.Options{Shaking: most, Working: 2, Timeout: time.Minute, Network: manyNetworks(997)})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range strangers {
		c := d.dial(t)
		if i%2 == 0 { // half of them say who they are not
			_, _ = c.Write([]byte{0x16, 0x03, 0x01, 0x01, 0x00, 0x01})
		}
		if i%2500 == 2499 {
			if got, err := d.get(t); got != "hello over HTTP/2.0" {
				t.Fatalf("after %d strangers: %q, %v", i+1, got, err)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse); grown > 96<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	if d.refused.Load() < strangers-2*most {
		t.Errorf("only %d strangers had to make room", d.refused.Load())
	}
}

func TestListener_AFloodOfOneNetworkMakesRoomWithItsOwn(t *testing.T) {
	var first atomic.Bool
	d := newDoor(t, admit.Options{Shaking: 4, Timeout: time.Minute, Network: func(net.Addr) string {
		if first.CompareAndSwap(false, true) {
			return "patient"
		}
		return "flood"
	}})
	patient := d.dial(t)
	for range 50 {
		d.dial(t)
	}
	waitFor(t, func() bool { return d.refused.Load() >= 47 })
	secure := tls.Client(patient, &tls.Config{InsecureSkipVerify: true}) // the donor's certificate is nobody's
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		t.Fatalf("who came first and was slow was put out: %v", err)
	}
}

func TestListener_LetsThoseFinishWhoHaveBegunWhenTooManyComeAtOnce(t *testing.T) {
	const most = 4
	d := newDoor(t, admit.Options{Shaking: most, Timeout: time.Minute, Network: func(net.Addr) string { return "agents" }})
	over := make(chan struct{})
	shaken := make(chan error, most)
	for range most {
		hello := &waitsAfterHello{Conn: d.dial(t), over: over}
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			shaken <- tls.Client(hello, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
		}()
		answered(t, hello.Conn)
	}
	late := d.dial(t)
	_ = late.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Fatalf("who came last was let in: %v", err)
	}
	close(over)
	for range most {
		if err := <-shaken; err != nil {
			t.Errorf("who had begun was put out: %v", err)
		}
	}
}

func TestListener_HangsUpOnWhoStopsInTheHandshake(t *testing.T) {
	d := newDoor(t, admit.Options{Timeout: 50 * time.Millisecond})
	silent := d.dial(t)
	if err := silent.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the connection closed", err)
	}
}

func TestListener_WhoStopsAfterTheFirstFlightHoldsNoPlaceForComputing(t *testing.T) {
	d := newDoor(t, admit.Options{Working: 1, Timeout: time.Minute})
	over := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	defer close(over)
	for range 20 {
		hello := &stopsAfterHello{Conn: d.dial(t), sent: make(chan struct{}), over: over}
		clients.Go(func() {
			_ = tls.Client(hello, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()) // it never ends well
		})
		<-hello.sent
	}
	if got, err := d.get(t); err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

// stopsAfterHello sends one record and never reads.
type stopsAfterHello struct {
	net.Conn
	once sync.Once
	sent chan struct{}
	over <-chan struct{}
}

func (c *stopsAfterHello) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.once.Do(func() { close(c.sent) })
	return n, err
}

// waitsAfterHello is a client that is slow to read what the server answers.
type waitsAfterHello struct {
	net.Conn
	over <-chan struct{}
}

func (c *waitsAfterHello) Read(p []byte) (int, error) {
	<-c.over
	return c.Conn.Read(p)
}

// answered waits until there is something to read, and leaves it there.
func answered(t *testing.T, c net.Conn) {
	t.Helper()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", c)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err == nil && n > 0
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *stopsAfterHello) Read([]byte) (int, error) {
	<-c.over
	return 0, io.EOF
}

func TestListener_BoundsWhatOneNetworkHoldsOpenAndMakesRoomAgain(t *testing.T) {
	d := newDoor(t, admit.Options{PerNetwork: 2, Network: func(net.Addr) string { return "203.0.113.0/24" }})
	open := func() *tls.Conn {
		c := tls.Client(d.dial(t), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) // the donor's certificate is nobody's
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	served := func(c *tls.Conn) bool {
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	first, second := open(), open()
	if !served(first) || !served(second) {
		t.Fatal("connections within the limit were refused")
	}
	if served(open()) {
		t.Fatal("a third connection was served")
	}
	_ = first.Close()
	waitFor(t, func() bool { return served(open()) })
}

func TestListener_CloseHangsUpOnWhoShakesHandsAndWaits(t *testing.T) {
	raw, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	l := admit.New(raw, admit.Options{TLS: &tls.Config{}, Timeout: time.Hour, Network: func(net.Addr) string {
		close(arrived)
		return ""
	}})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-arrived
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("accept: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the guest's connection: %v", err)
	}
}

func TestRemoteNetwork_CountsNetworksAndNotThisMachine(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.9:1": "203.0.113.0/24", "[::ffff:203.0.113.9]:1": "203.0.113.0/24", "[2001:db8::1]:1": "2001:db8::/64",
		"127.0.0.1:1": "", "[::1]:1": "",
	} {
		if got := admit.RemoteNetwork(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal("it never came true")
		case <-tick.C:
		}
	}
}
