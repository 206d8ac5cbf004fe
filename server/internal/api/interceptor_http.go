package api

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// request is what is known of a request beside its message. It belongs to the request's goroutine.
type request struct {
	reference string // finds it in the log
	peer      []*x509.Certificate
	address   string // network address without port
	userAgent string
	caller    string // who it turned out to be
	code      string // how it ended, if not well
	control   *http.ResponseController
}

// hurry gives the caller so long for the rest of the request: who sends a byte now and then holds nothing here for long.
func (r *request) hurry(limit time.Duration) {
	if r.control != nil {
		_ = r.control.SetReadDeadline(time.Now().Add(limit)) // what cannot have a deadline is no connection
	}
}

type requestKey struct{}

// requestOf is the request of ctx; an empty one outside of any.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

func referenceOf(ctx context.Context) string { return requestOf(ctx).reference }

func note(ctx context.Context, code string) { requestOf(ctx).code = code }

func identify(ctx context.Context, c auth.Caller) {
	requestOf(ctx).caller = strings.TrimSuffix(string(c.Kind)+" "+string(c.User.ID)+string(c.Node.ID), " ")
}

// mostUserAgent bounds what is kept of a header that says nothing reliable.
const mostUserAgent = 200

func newRequest(r *http.Request) *request {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	agent := strings.ToValidUTF8(r.UserAgent(), "?")
	out := &request{reference: strings.ToLower(rand.Text()[:16]), address: address, userAgent: agent[:min(len(agent), mostUserAgent)]}
	if r.TLS != nil {
		out.peer = r.TLS.PeerCertificates
	}
	return out
}

// outer is the outermost layer: it names the request, adds the headers every answer has, logs, and survives panics.
func outer(d Deps, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := newRequest(r)
		req.control = http.NewResponseController(w)
		harden(w.Header(), d.Version, req.reference)
		defer survive(d.Log, w, req, r.URL.Path)
		begun := d.Now()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, req)))
		d.Log.LogAttrs(r.Context(), slog.LevelDebug, "request served",
			slog.String("request", req.reference), slog.String("path", r.URL.Path), slog.String("address", req.address),
			slog.String("caller", req.caller), slog.String("code", req.code), slog.Duration("took", d.Now().Sub(begun)))
	})
}

// harden sets the headers that keep browsers from doing anything with an answer but reading it.
func harden(h http.Header, version, reference string) {
	h.Set(rpc.HeaderVersion, version)
	h.Set(rpc.HeaderReference, reference)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", fmt.Sprintf("max-age=%d", int((365*24*time.Hour).Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// survive answers a panic outside of the handlers, which recovery looks after.
func survive(log *slog.Logger, w http.ResponseWriter, r *request, path string) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint,err113 // the sentinel of net/http, by identity
		panic(p)
	}
	log.Error("request panicked", "request", r.reference, "path", path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	text(w, http.StatusInternalServerError, "internal error, reference "+r.reference+"\n")
}
