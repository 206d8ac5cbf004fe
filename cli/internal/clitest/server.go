package clitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

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
)

// State is what the server answers from.
type State struct {
	Unclaimed   bool
	Nodes       []*gestorv1.Node
	Apps        []*gestorv1.App
	Env         []*gestorv1.EnvVar
	Builds      []*gestorv1.Build
	Releases    []*gestorv1.Release
	Tasks       [][]*gestorv1.Task       // each: the states WatchTask sends, in order
	Deployments [][]*gestorv1.Deployment // each: the states WatchDeployment sends, in order
	Logs        map[string][]string      // lines by task
	AppLog      []*gestorv1.TailAppLogResponse
	Fail        map[string]*fault.Error // by method: what it answers instead
	Break       map[string]int          // by method: the stream is cut after so many messages, once
	Hold        string                  // a deployment state after which its watch waits for a cancellation
}

// Server is a running server. Its fields are read-only.
type Server struct {
	URL string
	Pin string // of its root
	CA  string // PEM

	mu        sync.Mutex
	state     State
	calls     []string
	last      map[string]proto.Message
	held      chan struct{}
	cancelled chan struct{}
}

// New starts a server that ends with t.
func New(t testing.TB, state State) *Server {
	t.Helper()
	root, leaf := authority(t)
	s := &Server{state: state, last: map[string]proto.Message{}, held: make(chan struct{}), cancelled: make(chan struct{})}
	sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
	s.Pin = hex.EncodeToString(sum[:])
	s.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	web := httptest.NewUnstartedServer(s.routes())
	web.EnableHTTP2 = true
	web.TLS = serverTLS(leaf)
	web.StartTLS()
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	s.URL = web.URL
	return s
}

func (s *Server) routes() http.Handler {
	faults := rpc.ServerFaults(func(context.Context) string { return "req_test" }, func(context.Context, string, error) {})
	opts := connect.WithInterceptors(faults, &guard{s})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s.CA)) })
	for _, mount := range []func() (string, http.Handler){
		func() (string, http.Handler) { return gestorv1connect.NewSetupServiceHandler(setup{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewSessionServiceHandler(sessions{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewNodeServiceHandler(nodes{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewAppServiceHandler(apps{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewBuildServiceHandler(builds{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewReleaseServiceHandler(releases{s}, opts) },
		func() (string, http.Handler) {
			return gestorv1connect.NewDeploymentServiceHandler(deployments{s}, opts)
		},
		func() (string, http.Handler) { return gestorv1connect.NewTaskServiceHandler(tasks{s}, opts) },
		func() (string, http.Handler) { return gestorv1connect.NewLogServiceHandler(logs{s}, opts) },
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
		if err := g.s.enter(req.Spec().Procedure, req.Header(), message); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func (g *guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := g.s.enter(conn.Spec().Procedure, conn.RequestHeader(), nil); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

func (g *guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (s *Server) enter(procedure string, h http.Header, req proto.Message) error {
	method := procedure[strings.LastIndex(procedure, "/")+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
	if req != nil {
		s.last[method] = req
	}
	if f := s.state.Fail[method]; f != nil {
		return f
	}
	public := strings.Contains(procedure, "SetupService") || method == "CreateSession"
	if !public && h.Get("Authorization") != "Bearer "+Token {
		return fault.Unauthenticated("nobody is signed in")
	}
	return nil
}

// cut reports whether the stream of a method is to be cut now, which happens once.
func (s *Server) cut(method string, sent int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.state.Break[method]; ok && sent >= n {
		delete(s.state.Break, method)
		return true
	}
	return false
}
