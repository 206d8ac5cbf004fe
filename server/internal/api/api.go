// Package api is the server's outer wall and its reception: it terminates Connect over HTTP/2, proves who calls, refuses
// what the caller may not do before a byte of the message is read, checks what was sent against the contract, converts
// it into the domain, calls, and converts the answer back. It decides nothing about apps, nodes or deployments.
//
// Guarantees. A method without a declared permission keeps the server from starting. A caller of one tenant reads and
// changes nothing of another. No error leaves without a kind: what has none becomes a reference into the log.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/health"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Mount makes a service's handler with the options that guard it, as the generated constructors do:
//
//	func(o ...connect.HandlerOption) (string, http.Handler) { return gestorv1connect.NewAppServiceHandler(apps, o...) }
type Mount func(options ...connect.HandlerOption) (string, http.Handler)

// Deps are what the API is made of. What may be left out says so.
type Deps struct {
	Engine   Engine
	Revision func() uint64     // the revision this server has applied; answers carry it
	Agents   pki.AgentVerifier // proves who an agent is
	RootPEM  []byte            // the root that signs servers, served as /ca.pem
	Version  string
	Mounts   []Mount                                      // every service
	Pages    func(api http.Handler) (http.Handler, error) // makes what is served beside the services, from what serves them; may be nil
	Checks   []health.Check                               // what must be well for /readyz
	Metrics  http.Handler                                 // served as /metrics to those who may debug; may be nil

	Changes func(tables ...state.Table) uint64 // see state.Store.Version; nil reads who calls anew for every call
	Barrier func(ctx context.Context) error    // returns once this server has all that was committed before; nil with one server only
	Servers func(ctx context.Context) string   // all servers, as in rpc.HeaderServers; may be nil
	Contact func() time.Time                   // when this server last heard of a leader; may be nil
	Limits  *Limits                            // nil for none
	Served  func(Served)                       // is told of every request; may be nil
	Refused func(reason string)                // is told of every refusal for lack of room; may be nil

	Seen func(c auth.Caller, address string) // is told of every call of a person or a token; may be nil

	Attempts Attempts // is told of who tried what they may not; may be nil

	Now   func() time.Time // time.Now if nil
	Times Times
	Log   *slog.Logger // nil discards
}

func (d Deps) withDefaults() Deps {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Limits == nil {
		d.Limits = NewLimits(LimitsOptions{})
	}
	if d.Served == nil {
		d.Served = func(Served) {}
	}
	if d.Refused == nil {
		d.Refused = func(string) {}
	}
	if d.Seen == nil {
		d.Seen = func(auth.Caller, string) {}
	}
	if d.Attempts == nil {
		d.Attempts = noAttempts{}
	}
	d.Times = d.Times.withDefaults()
	return d
}

// Times are how long the API waits. A zero means the default.
type Times struct {
	Body     time.Duration // for the message of a call that is no stream; 30 s
	Revision time.Duration // for this server to catch up with what its caller has seen, or with the leader; 5 s
	Write    time.Duration // for one message of a stream to be taken by who watches; 30 s
}

func (t Times) withDefaults() Times {
	return Times{Body: cmp.Or(t.Body, 30*time.Second), Revision: cmp.Or(t.Revision, 5*time.Second), Write: cmp.Or(t.Write, 30*time.Second)}
}

// unaryTimeout is how long a call that is no stream may take, from its message to its answer.
const unaryTimeout = 30 * time.Second

// New builds the handler of everything this server serves.
func New(d Deps) (http.Handler, error) {
	d = d.withDefaults()
	policy, err := NewPolicy(Contract()...)
	if err != nil {
		return nil, err
	}
	entrance := &gate{deps: d, policy: policy, known: &known{version: d.Changes}}
	options, err := guards(d, policy, entrance)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, mount := range d.Mounts {
		mux.Handle(mount(options...))
	}
	mux.HandleFunc("GET /healthz", health.Live())
	mux.HandleFunc("GET /readyz", health.Ready(d.Version, d.Checks...))
	inspection(mux, entrance, d.Metrics)
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, string(d.RootPEM)) })
	if d.Pages != nil {
		pages, err := d.Pages(mux)
		if err != nil {
			return nil, err
		}
		mux.Handle("/", pages)
	}
	return outer(d, policy, http.NewCrossOriginProtection().Handler(mux)), nil
}

// guards are the options every service is mounted with. The gate runs first, before a message is read; then the
// interceptors, outermost first.
func guards(d Deps, policy Policy, gate *gate) ([]connect.HandlerOption, error) {
	validation, err := newValidation()
	if err != nil {
		return nil, err
	}
	faults := rpc.ServerFaults(referenceOf, gate.report)
	return []connect.HandlerOption{
		connect.WithRequestGate(gate.enter),
		connect.WithInterceptors(
			&outcomes{revision: d.Revision, contact: d.Contact, servers: d.Servers}, faults, &admission{deps: d}, &recovery{}, validation,
			&doubts{gate}, &vigil{gate},
		),
		connect.WithCompressMinBytes(leastCompressed),
		connect.WithCodec(strictJSON{"json"}),
		connect.WithCodec(strictJSON{"json; charset=utf-8"}),
		connect.WithConditionalHandlerOptions(policy.limits),
	}, nil
}

// leastCompressed is where compressing an answer begins to save more than it costs.
const leastCompressed = 1 << 10

// mostPublicBytes bounds the messages of those who have proven nothing, or only who they were.
const mostPublicBytes = 64 << 10

// limits bounds the messages of a method.
func (p Policy) limits(spec connect.Spec) []connect.HandlerOption {
	return []connect.HandlerOption{connect.WithReadMaxBytes(p.mostBytes(spec))}
}

func (p Policy) mostBytes(spec connect.Spec) int {
	switch {
	case spec.StreamType != connect.StreamTypeUnary:
		return rpc.MaxStreamBytes
	case p[spec.Procedure].GetPermission() == gestorv1.Permission_PERMISSION_PUBLIC,
		spec.Procedure == agentv1connect.EnrollmentServiceRenewProcedure:
		return mostPublicBytes
	}
	return rpc.MaxUnaryBytes
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) //nolint:gosec // plain text, never HTML; the peer is gone if this fails
}
