package server

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestLimitedListener_HangsUpBeyondItsLimitsAndMakesRoomAgain(t *testing.T) {
	raw, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	l := limitConnections(raw)
	l.perNetwork, l.network = 2, func(net.Addr) string { return "203.0.113.0/24" }
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("x"))
			accepted <- c
		}
	}()
	dial := func() bool { // whether the server speaks
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	if first, second := dial(), dial(); !first || !second {
		t.Fatal("a connection within the limit was refused")
	}
	if dial() {
		t.Fatal("a third connection was accepted")
	}
	first := <-accepted
	_, _ = first.Close(), first.Close() // counts once
	if !dial() || dial() {
		t.Fatal("closing one connection does not make room for exactly one")
	}
}

func TestLimitedListener_HasALimitOverAllNetworks(t *testing.T) {
	l := limitConnections(nil)
	l.most = 2
	if !l.enter("198.51.100.0/24") || !l.enter("203.0.113.0/24") || l.enter("192.0.2.0/24") {
		t.Fatal("the limit of all connections does not hold")
	}
}

func TestRemoteNetwork_CountsNetworksAndNotThisMachine(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.9:1": "203.0.113.0/24", "[::ffff:203.0.113.9]:1": "203.0.113.0/24", "[2001:db8::1]:1": "2001:db8::/64",
		"127.0.0.1:1": "", "[::1]:1": "",
	} {
		if got := remoteNetwork(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
