package peer

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTCP_GivesAConnectionUpWhoseOtherEndHasVanished(t *testing.T) {
	l, err := TCP{}.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := TCP{}.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for end, conn := range map[string]net.Conn{"who dials": dialled, "who accepts": accepted} {
		for name, o := range map[string]struct{ level, option, most int }{
			"unacknowledged for ms": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000},
			"idle for s":            {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5},
			"between probes s":      {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
			"probes":                {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
			"keep alive":            {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		} {
			if got := option(t, conn, o.level, o.option); got < 1 || got > o.most {
				t.Errorf("%s, %s: got %d, want at most %d and some", end, name, got, o.most)
			}
		}
	}
}

func option(t *testing.T, conn net.Conn, level, name int) (value int) {
	t.Helper()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("got a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}
