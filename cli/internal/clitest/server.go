package clitest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// The one user of the server.
const (
	Token    = "gss_clitest"
	Email    = "ana@example.com"
	Password = "correct horse battery"
	Secret   = "gsu_clitest"
	Cluster  = "clu_1"
)

// State is what the server answers from.
type State struct {
	Unclaimed   bool
	Users       []*gestorv1.User
	Invitations []*gestorv1.Invitation
	Tenants     []*gestorv1.Tenant // the first is the caller's own
	Nodes       []*gestorv1.Node
	Apps        []*gestorv1.App
	Env         []*gestorv1.EnvVar
	EnvVersions []*gestorv1.EnvVersion
	EnvDiff     *gestorv1.DiffEnvResponse
	Values      map[string]string // of variables, for RevealEnv
	Unreadable  []string
	Builds      []*gestorv1.Build
	Releases    []*gestorv1.Release
	Tasks       [][]*gestorv1.Task       // each: the states WatchTask sends, in order
	Deployments [][]*gestorv1.Deployment // each: the states WatchDeployment sends, in order
	Logs        map[string][]string      // lines by task
	AppLog      []*gestorv1.TailAppLogResponse
	Fail        map[string]*fault.Error // by method: what it answers instead
	Break       map[string]int          // by method: the stream is cut after so many messages, once
	Kill        map[string]int          // by method: the server that streams dies after so many messages, once
	Hang        map[string]int          // and here it falls silent
	Hold        string                  // a deployment state after which its watch waits for a cancellation

	Servers   [][]*gestorv1.Server // what ListServers answers, one after the other; the members if empty
	Tolerates int32
	Notice    string
	Check     *gestorv1.CheckServersResponse
	Backup    []string // pieces
	Keys      *gestorv1.GetKeysResponse

	SecondFactor []string // what the user has besides the password
	StepUp       []string // methods that want a recent proof, which there is none of at first
}

// Server is a running server, or several of one cluster that share all they know. Its fields are read-only.
type Server struct {
	URL string // of the first
	Pin string // of its root
	CA  string // PEM

	leaf    tls.Certificate
	members []*member

	mu        sync.Mutex
	state     State
	calls     []string
	last      map[string]proto.Message
	held      chan struct{}
	cancelled chan struct{}
	protected map[gestorv1.Environment]*gestorv1.Protection // guarded by mu
	used      []string                                      // codes; guarded by mu
	proved    bool                                          // who calls; guarded by mu
}

// New starts a server that ends with t.
func New(t testing.TB, state State) *Server {
	t.Helper()
	return NewCluster(t, state, 1)
}

// NewCluster starts n servers, ctl1 and so on, that end with t.
func NewCluster(t testing.TB, state State, n int) *Server {
	t.Helper()
	root, leaf := authority(t)
	s := &Server{state: state, leaf: leaf, last: map[string]proto.Message{}, held: make(chan struct{}), cancelled: make(chan struct{}), protected: map[gestorv1.Environment]*gestorv1.Protection{}}
	sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
	s.Pin = hex.EncodeToString(sum[:])
	s.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	for i := range n {
		s.members = append(s.members, newMember(t, s, "ctl"+strconv.Itoa(i+1)))
	}
	s.URL = s.members[0].web.URL
	return s
}

// URLs are the addresses of all servers.
func (s *Server) URLs() []string {
	var all []string
	for _, m := range s.members {
		all = append(all, m.web.URL)
	}
	return all
}

// Kill ends the server with the number, the first is 1.
func (s *Server) Kill(number int) { s.members[number-1].wire.kill() }

// Hang makes it fall silent: it takes connections and answers nothing.
func (s *Server) Hang(number int) { s.members[number-1].wire.hang() }

// Leaderless makes it answer that nobody leads.
func (s *Server) Leaderless(number int) { s.members[number-1].leaderless.Store(true) }

func (s *Server) routes() http.Handler {
	faults := rpc.ServerFaults(func(context.Context) string { return "req_test" }, func(context.Context, string, error) {})
	opts := connect.WithInterceptors(faults, &guard{s})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s.CA)) })
	for _, mount := range []func() (string, http.Handler){
		func() (string, http.Handler) { return gestorv1connect.NewSetupServiceHandler(setup{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewSessionServiceHandler(sessions{s}, opts)
		},
		func() (string, http.Handler) { return gestorv1connect.NewFactorServiceHandler(factors{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewNodeServiceHandler(nodes{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewTenantServiceHandler(tenants{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewUserServiceHandler(users{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewInvitationServiceHandler(invitations{s}, opts)
		},
		func() (string, http.Handler) { return gestorv1connect.NewAccountServiceHandler(account{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewAppServiceHandler(apps{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewBuildServiceHandler(builds{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewReleaseServiceHandler(releases{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewDeploymentServiceHandler(deployments{s}, opts)
		},
		func() (string, http.Handler) { return gestorv1connect.NewTaskServiceHandler(tasks{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewLogServiceHandler(logs{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewServerServiceHandler(servers{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewEventServiceHandler(newEvents(s), opts)
		},
		func() (string, http.Handler) {
			return gestorv1connect.NewChannelServiceHandler(newChannels(s), opts)
		},
		func() (string, http.Handler) {
			return gestorv1connect.NewProviderServiceHandler(newProviders(), opts)
		},
		func() (string, http.Handler) {
			return gestorv1connect.NewProtectionServiceHandler(protections{s}, opts)
		},
		func() (string, http.Handler) { return gestorv1connect.NewAuditServiceHandler(audits{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewPermissionServiceHandler(permissions{s}, opts)
		},
	} {
		mux.Handle(mount())
	}
	return mux
}

// Calls are the methods called so far, in order.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Last is the latest request of a method, nil if it was not called.
func (s *Server) Last(method string) proto.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[method]
}

// Held is closed when a watch has reached State.Hold.
func (s *Server) Held() <-chan struct{} { return s.held }

// guard records calls, asks for the token and plays the scripted failures.
type guard struct{ s *Server }

func (g *guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		message, _ := req.Any().(proto.Message)
		if err := g.s.enter(ctx, req.Spec().Procedure, req.Header(), message); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func (g *guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := g.s.enter(ctx, conn.Spec().Procedure, conn.RequestHeader(), nil); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

func (g *guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (s *Server) enter(ctx context.Context, procedure string, h http.Header, req proto.Message) error {
	method := procedure[strings.LastIndex(procedure, "/")+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
	if req != nil {
		s.last[method] = req
		if err := repeatable(req); err != nil {
			return err
		}
	}
	if memberOf(ctx).leaderless.Load() {
		return fault.Unavailable("no control server leads: a majority of them is missing").WithRetryAfter(time.Second)
	}
	if f := s.state.Fail[method]; f != nil {
		return f
	}
	public := strings.Contains(procedure, "SetupService") || publicMethod(method)
	if !public && h.Get("Authorization") != "Bearer "+Token {
		return fault.Unauthenticated("nobody is signed in")
	}
	return s.stale(method)
}

// repeatable refuses a request that could carry a request id and does not: a client could not repeat it.
func repeatable(req proto.Message) error {
	m := req.ProtoReflect()
	if field := m.Descriptor().Fields().ByName("request_id"); field != nil && m.Get(field).String() == "" {
		return fault.Invalid("request_id", "%s has none", m.Descriptor().Name())
	}
	return nil
}

// cut reports whether the stream of a method is to be cut now, which happens once, and plays the end of its server.
func (s *Server) cut(ctx context.Context, method string, sent int) bool {
	switch m := memberOf(ctx); {
	case s.due(s.state.Kill, method, sent):
		m.wire.kill()
		return true
	case s.due(s.state.Hang, method, sent):
		m.wire.hang()
		<-ctx.Done()
		return true
	}
	return s.due(s.state.Break, method, sent)
}

func (s *Server) due(script map[string]int, method string, sent int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := script[method]; ok && sent >= n {
		delete(script, method)
		return true
	}
	return false
}
