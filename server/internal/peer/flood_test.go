package peer_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// lines counts lines that are written to it.
type lines struct {
	mu sync.Mutex
	n  int // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func TestPort_StrangersDoNotFillTheLog(t *testing.T) {
	const strangers = 200
	i, log := newInstallation(t, "clu_1"), &lines{}
	p, err := peer.Open(t.Context(), peer.Options{
		Listen: "127.0.0.1:0", Self: "srv_a", Leaf: i.leaf(t, "srv_a"), Log: slog.New(slog.NewJSONHandler(log, nil)),
		Verifier: pki.PeerVerifier{Roots: i.servers.Pool(), Cluster: i.name},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range strangers {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n") // refused at the first byte
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	if err := p.Close(); err != nil { // waits for the last refusal
		t.Fatal(err)
	}
	if log.n == 0 || log.n > strangers/4 {
		t.Errorf("%d lines of %d strangers", log.n, strangers)
	}
}
