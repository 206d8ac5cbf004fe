package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// Mount binds one service to the options all of them have.
type Mount func(o ...connect.HandlerOption) (pattern string, handler http.Handler)

// Run serves the peer services until ctx ends. A member that is removed meanwhile is refused from its next call on.
func (p *Port) Run(ctx context.Context, mounts ...Mount) error {
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(rpc.MaxUnaryBytes), connect.WithSendMaxBytes(rpc.MaxUnaryBytes),
		connect.WithRecover(p.recover),
		connect.WithInterceptors(rpc.ServerFaults(reference, p.report)),
	}
	for _, mount := range mounts {
		mux.Handle(mount(options...))
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	server := &http.Server{
		Handler:           p.identify(mux),
		Protocols:         protocols,
		TLSConfig:         &tls.Config{NextProtos: []string{protocolHTTP}, MinVersion: tls.VersionTLS13}, // handshakes are done when it gets them
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(p.http); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve the peer port: %w", err)
	}
	return nil
}

// identify says who calls, and refuses who is no member any more.
func (p *Port) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Error(w, "TLS only", http.StatusForbidden)
			return
		}
		id, err := pki.PeerOf(*r.TLS, p.o.Verifier.Cluster)
		if err == nil {
			err = p.welcome(id)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		ctx := context.WithValue(r.Context(), callKey{}, call{server: id, reference: rand.Text()[:16]})
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/connect+") { // a call with one message, not a stream
			r.Body = http.MaxBytesReader(w, r.Body, rpc.MaxUnaryBytes+1) // what is larger is not even read to its end
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

type callKey struct{}

type call struct{ server, reference string }

// Caller is the server that makes the call of ctx; empty outside of one.
func Caller(ctx context.Context) string {
	c, _ := ctx.Value(callKey{}).(call)
	return c.server
}

// WithCaller makes ctx the context of a call by server, for calls that a server makes to itself.
func WithCaller(ctx context.Context, server string) context.Context {
	return context.WithValue(ctx, callKey{}, call{server: server, reference: rand.Text()[:16]})
}

func reference(ctx context.Context) string {
	c, _ := ctx.Value(callKey{}).(call)
	return c.reference
}

// report logs an error of which the caller sees only the reference.
func (p *Port) report(ctx context.Context, procedure string, err error) {
	p.o.Log.Error("call of another server failed", "request", reference(ctx), "server", Caller(ctx), "procedure", procedure, "err", err)
}

func (p *Port) recover(ctx context.Context, spec connect.Spec, _ http.Header, v any) error {
	p.o.Log.Error("call of another server panicked", "server", Caller(ctx), "procedure", spec.Procedure, "panic", fmt.Sprint(v))
	return fault.Unavailable("the server failed inside; its log has the reason")
}
