package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestHTTPServer_HangsUpOnThoseWhoDoNotSayWhatTheyWant(t *testing.T) {
	donor := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate to use
	defer donor.Close()
	s := newHTTPServer(http.NotFoundHandler(), donor.TLS, slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > 30*time.Second {
		t.Fatalf("headers may take %v", s.ReadHeaderTimeout)
	}
	s.ReadHeaderTimeout = 100 * time.Millisecond
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	defer s.Close()
	for name, begin := range map[string]func(net.Conn) (net.Conn, error){
		"a caller without a handshake": func(c net.Conn) (net.Conn, error) { return c, nil },
		"a caller with half a header": func(c net.Conn) (net.Conn, error) {
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) // a stranger
			_, err := io.WriteString(secure, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			return secure, err
		},
	} {
		hangsUp(t, name, l.Addr().String(), begin)
	}
}

// hangsUp checks that the server closes a connection after what begin does on it.
func hangsUp(t *testing.T, name, address string, begin func(net.Conn) (net.Conn, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn, err := begin(raw)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := raw.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s is still served after 10 s", name)
	}
}
