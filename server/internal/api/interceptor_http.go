package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/limit"
)

// request is what is known of a request beside its message. It belongs to the request's goroutine.
type request struct {
	reference string // finds it in the log
	peer      []*x509.Certificate
	address   string // network address without port
	userAgent string
	caller    string // who it turned out to be
	tenant    string // whose the caller is
	code      string // how it ended, if not well
	stream    bool
	local     bool  // answered from what is here, new or not
	declared  int64 // bytes of the body, as its header says; -1 if it does not
	mostBody  int64 // bytes that are read of the body; 0 for no limit
	received  atomic.Int64
	sent      atomic.Int64
	memory    *limit.Counts // bounds what bodies take; nil for no limit
	party     string        // who the memory counts for
	control   *http.ResponseController
}

// envelope is what a protocol may put around a message.
const envelope = 1 << 10

// charge makes the caller pay for the memory that the body takes until the request ends.
func (r *request) charge(memory *limit.Counts, party string) { r.memory, r.party = memory, party }

// body reads the body of a request, as much of it as may be.
type body struct {
	io.ReadCloser
	r       *request
	charged int
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	all := b.r.received.Add(int64(n))
	if b.r.mostBody > 0 && all > b.r.mostBody {
		return 0, connect.NewError(connect.CodeResourceExhausted, errors.New("the message is larger than it may be"))
	}
	if b.r.memory == nil || n == 0 {
		return n, err
	}
	if !b.r.memory.Take(b.r.party, n) {
		busy := fault.Exhausted("the server receives too much at once").WithRetryAfter(time.Second).WithNothingDone()
		ce, _ := rpc.Encode(busy, b.r.reference)
		return 0, ce
	}
	b.charged += n
	return n, err
}

// settle gives the memory back.
func (b *body) settle() {
	if b.charged > 0 {
		b.r.memory.Give(b.r.party, b.charged)
	}
}

// answer counts what is sent.
type answer struct {
	http.ResponseWriter
	r *request
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.r.sent.Add(int64(n))
	return n, err
}

// Flush implements http.Flusher, which streams need.
func (a *answer) Flush() { _ = a.r.control.Flush() } // a peer that is gone is found out by the next write

// Unwrap lets http.ResponseController find what is below.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

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
	r := requestOf(ctx)
	r.caller = strings.TrimSuffix(string(c.Kind)+" "+string(c.User.ID)+string(c.Node.ID), " ")
	r.tenant = string(c.Tenant) + string(c.Node.TenantID)
}

// mostUserAgent bounds what is kept of a header that says nothing reliable.
const mostUserAgent = 200

func newRequest(r *http.Request) *request {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	agent := strings.ToValidUTF8(r.UserAgent(), "?")
	agent = strings.ToValidUTF8(agent[:min(len(agent), mostUserAgent)], "") // the cut may be inside a character
	out := &request{
		reference: strings.ToLower(rand.Text()[:16]), address: address, userAgent: agent,
		declared: r.ContentLength,
	}
	if r.TLS != nil {
		out.peer = r.TLS.PeerCertificates
	}
	return out
}

// Served is a request that has been answered.
type Served struct {
	At        time.Time // when it began
	Took      time.Duration
	Reference string
	Caller    string // kind and id, "user usr_…"; empty for nobody
	Tenant    string
	Address   string // without port
	Path      string // the procedure
	Known     bool   // whether the contract has that procedure
	Stream    bool   // whether it is a stream
	Code      string // Connect's; "ok" for success
	Received  int64  // bytes of messages
	Sent      int64
}

// outer is the outermost layer: it names the request, adds the headers every answer has, tells of it, and survives panics.
func outer(d Deps, policy Policy, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := newRequest(r)
		req.control = http.NewResponseController(w)
		harden(w.Header(), d.Version, req.reference)
		in := &body{ReadCloser: r.Body, r: req}
		defer in.settle()
		begun := d.Now()
		defer func() { d.Served(served(req, r.URL.Path, begun, d.Now(), policy)) }()
		defer survive(d.Log, w, req, r.URL.Path)
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		r.Body = in
		next.ServeHTTP(&answer{w, req}, r)
	})
}

func served(r *request, path string, begun, ended time.Time, policy Policy) Served {
	_, known := policy[path]
	return Served{
		At: begun, Took: ended.Sub(begun), Reference: r.reference, Caller: r.caller, Tenant: r.tenant, Address: r.address,
		Path: path, Known: known, Stream: r.stream, Code: cmp.Or(r.code, "ok"), Received: r.received.Load(), Sent: r.sent.Load(),
	}
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
	r.code = connect.CodeInternal.String()
	log.Error("request panicked", "request", r.reference, "path", path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	text(w, http.StatusInternalServerError, "internal error, reference "+r.reference+"\n")
}
