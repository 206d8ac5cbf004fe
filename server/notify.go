package server

import (
	"net"
	"os"
)

// notify tells systemd of a change of state. Without systemd, or if it does not listen, nothing is lost.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte(state)) // systemd times out by itself if it misses this
}
