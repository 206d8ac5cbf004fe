package server

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// newHTTPServer bounds what a stranger may take: time for headers, their size, idle connections, streams. Streams of
// agents live for days, so bodies have no time limit of their own here; calls that are no streams get theirs in api.
func newHTTPServer(handler http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true) // curl, browsers behind old proxies
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           handler,
		TLSConfig:         config,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.With("component", "http").Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			SendPingTimeout:      15 * time.Second, // a peer that went away without a word is found out
			PingTimeout:          10 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}
}
