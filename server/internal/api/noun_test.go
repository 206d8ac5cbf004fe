package api_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/fsm/fsmtest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// machine is the real state machine over the real store, with entries that are committed at once. What Raft adds is
// tested where Raft is.
type machine struct {
	store *state.Store
	dir   string

	mu      sync.Mutex
	fsm     *fsm.FSM
	applied atomic.Uint64
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &machine{store: store, dir: dir, fsm: fsm.New(store, "test")}
}

func (m *machine) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fsmtest.Apply(m.fsm, m.applied.Add(1), c)
}

// ProposeHere is for leader loops, which these tests do not run.
func (m *machine) ProposeHere(context.Context, []byte) (command.Receipt, error) {
	return command.Receipt{}, errors.New("nothing leads in this test")
}

func (m *machine) View(s gestor.Scope) *state.View                 { return m.store.View(s) }
func (m *machine) Wait(context.Context, uint64) error              { return nil }
func (m *machine) Watch(tables ...state.Table) *state.Subscription { return m.store.Watch(tables...) }

// put writes rows that no command of a test's reach makes: a second tenant, finished work.
func (m *machine) put(t testing.TB, write func(ctx context.Context, x *state.Txn) error) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	x, err := m.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	index := m.applied.Add(1)
	x.Revision = index
	if err := write(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(t.Context(), index); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) do(t testing.TB, op command.Op) {
	t.Helper()
	if _, err := m.Propose(t.Context(), command.Command{At: time.Now(), Actor: gestor.SystemActor("test"), Op: op}); err != nil {
		t.Fatal(err)
	}
}

// member is a signed-in person with a client for each service.
type member struct {
	tenant      gestor.TenantID
	apps        gestorv1connect.AppServiceClient
	builds      gestorv1connect.BuildServiceClient
	releases    gestorv1connect.ReleaseServiceClient
	deployments gestorv1connect.DeploymentServiceClient
	tasks       gestorv1connect.TaskServiceClient
	nodes       gestorv1connect.NodeServiceClient
	tenants     gestorv1connect.TenantServiceClient
	logs        gestorv1connect.LogServiceClient
}

// nouns is a server with two tenants that know nothing of each other. The first has node web-1.
type nouns struct {
	*machine
	server  *httptest.Server
	history *history.Store
	ring    *secret.Ring
	tails   *tails
	loads   loads
	one     member // of tenant ten_one, with node nod_one called web-1
	other   member // of tenant ten_other, with node nod_other called web-1 too
}

// tails stands for the sessions of agents: it answers OpenTail from what the test put there.
type tails struct {
	mu    sync.Mutex
	lines map[gestor.NodeID]chan []*gestorv1.LogLine
}

func (s *tails) OpenTail(_ context.Context, node gestor.NodeID, _ string, _ int, _ bool) (<-chan []*gestorv1.LogLine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.lines[node]; c != nil {
		return c, nil
	}
	return nil, fault.Unavailable("the node is not connected, its logs cannot be read now")
}

type loads map[gestor.NodeID]*gestorv1.NodeLoad

func (l loads) Loads(context.Context, []gestor.NodeID) map[gestor.NodeID]*gestorv1.NodeLoad { return l }

const publicURL = "https://ctl.example:8443"

func newNouns(t *testing.T) *nouns {
	t.Helper()
	n := &nouns{
		machine: newMachine(t),
		tails:   &tails{lines: map[gestor.NodeID]chan []*gestorv1.LogLine{}},
		loads:   loads{"nod_one": {Cpu: 0.5}},
	}
	var err error
	if n.history, err = history.Open(history.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.history.Close() })
	if n.ring, err = secret.Create(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	server := n.serve(t)
	n.server = server
	n.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}})
	n.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_first", TenantName: "First", UserID: "usr_first", Email: "a@first.example"})
	n.one = n.member(t, server, "one")
	n.other = n.member(t, server, "other")
	return n
}

func (n *nouns) serve(t *testing.T) *httptest.Server {
	t.Helper()
	deployer := deploy.New(deploy.Options{Engine: n})
	detector := dispatch.New(dispatch.Options{Engine: n})
	apps := api.NewAppService(api.AppDeps{Engine: n, Sealer: n.ring, Detector: detector, Remover: deployer})
	builds := api.NewBuildService(api.BuildDeps{Engine: n, Builder: deployer})
	releases := api.NewReleaseService(api.ReleaseDeps{Engine: n})
	deployments := api.NewDeploymentService(api.DeploymentDeps{Engine: n, Deployer: deployer})
	tasks := api.NewTaskService(api.TaskDeps{Engine: n})
	nodes := api.NewNodeService(api.NodeDeps{Engine: n, Loads: n.loads, Pin: make([]byte, 32), PublicURL: publicURL})
	logs := api.NewLogService(api.LogDeps{Engine: n, Tasks: n.history, Apps: n.tails})
	handler, err := api.New(api.Deps{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Engine: n, Changes: n.store.Version, Revision: n.applied.Load, Agents: pki.AgentVerifier{Roots: x509.NewCertPool(), Cluster: "clu_test", Now: time.Now},
		Mounts: []api.Mount{
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewAppServiceHandler(apps, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewBuildServiceHandler(builds, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewReleaseServiceHandler(releases, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewDeploymentServiceHandler(deployments, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewTaskServiceHandler(tasks, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewNodeServiceHandler(nodes, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewTenantServiceHandler(api.NewTenantService(api.TenantDeps{Engine: n}), o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewLogServiceHandler(logs, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewProtectionServiceHandler(api.NewProtectionService(api.ProtectionDeps{Engine: n}), o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewPermissionServiceHandler(api.NewPermissionService(), o...)
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// member makes a tenant with an administrator who is signed in, and a node.
func (n *nouns) member(t *testing.T, server *httptest.Server, name string) member {
	t.Helper()
	tenant := gestor.TenantID("ten_" + name)
	token, hash := auth.NewBearer()
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		if err := x.PutTenant(ctx, gestor.Tenant{ID: tenant, Name: name, Plan: "enterprise", Status: "active"}); err != nil {
			return err
		}
		user := gestor.User{ID: gestor.UserID("usr_" + name), TenantID: tenant, Email: name + "@example.com", Role: gestor.RoleAdmin, Status: "active"}
		if err := x.PutUser(ctx, user); err != nil {
			return err
		}
		session := gestor.Session{ID: gestor.SessionID("ses_" + name), UserID: user.ID, TenantID: tenant, TokenHash: hash, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
		return x.PutSession(ctx, session)
	})
	n.addNode(t, tenant, gestor.NodeID("nod_"+name), "web-1", "10.0.0.1")
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test",
		Token: func() string { return token },
	})
	t.Cleanup(c.Close)
	return member{
		tenant:      tenant,
		apps:        gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...),
		builds:      gestorv1connect.NewBuildServiceClient(c.HTTP, c.URL, c.Options()...),
		releases:    gestorv1connect.NewReleaseServiceClient(c.HTTP, c.URL, c.Options()...),
		deployments: gestorv1connect.NewDeploymentServiceClient(c.HTTP, c.URL, c.Options()...),
		tasks:       gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.Options()...),
		nodes:       gestorv1connect.NewNodeServiceClient(c.HTTP, c.URL, c.Options()...),
		tenants:     gestorv1connect.NewTenantServiceClient(c.HTTP, c.URL, c.Options()...),
		logs:        gestorv1connect.NewLogServiceClient(c.HTTP, c.URL, c.Options()...),
	}
}

func (n *nouns) addNode(t *testing.T, tenant gestor.TenantID, id gestor.NodeID, name, address string) {
	t.Helper()
	facts, err := proto.Marshal(&gestorv1.NodeFacts{Hostname: name + ".lan", Arch: "amd64", Addresses: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		return x.PutNode(ctx, gestor.Node{ID: id, TenantID: tenant, Name: name, Status: gestor.NodeConnected, Facts: facts, SPKI: []byte(id)})
	})
}

// addApp makes an app on web-1 through the API.
func (m member) addApp(t *testing.T, slug string) *gestorv1.App {
	t.Helper()
	own := settings()
	own.Domains = []string{slug + ".example"}
	res, err := m.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: slug, Settings: own})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetApp()
}

func settings() *gestorv1.AppSettings {
	return &gestorv1.AppSettings{Repository: "https://git.example/shop.git", Branch: "main", Nodes: []string{"web-1"}}
}

// work is an app with a deployment that went live, made of rows: build 1, release "20261123-100000", and a switch on web-1.
type work struct {
	app        *gestorv1.App
	build      gestor.Build
	release    gestor.Release
	deployment gestor.Deployment
	task       gestor.Task
}

// addWork makes an app with a release that is live.
func (n *nouns) addWork(t *testing.T, m member, slug string) work {
	t.Helper()
	w := work{app: m.addApp(t, slug)}
	app, at := gestor.AppID(w.app.GetId()), time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	stored, err := n.View(gestor.TenantScope(m.tenant)).App(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	node := stored.Settings.Nodes[0]
	artifact := gestor.Artifact{Digest: strings.Repeat("a", 64), Bytes: 1000, Kind: gestor.KindStatic, Commit: "c0ffee", Message: "a commit", Author: "Ana"}
	w.build = gestor.Build{
		ID: gestor.BuildID("bld_" + slug), TenantID: m.tenant, AppID: app, Number: 1, Status: gestor.BuildSuccess, Ref: "main", Artifact: artifact,
		TaskID: gestor.TaskID("tsk_build_" + slug), CreatedAt: at,
	}
	w.release = gestor.Release{
		ID: gestor.ReleaseID("rel_" + slug), TenantID: m.tenant, AppID: app, Name: "20261123-100000", BuildID: w.build.ID, Artifact: artifact,
		Status: gestor.ReleaseGood, CreatedAt: at, LiveAt: at,
	}
	w.deployment = gestor.Deployment{
		ID: gestor.DeploymentID("dep_" + slug), TenantID: m.tenant, AppID: app, State: gestor.DeploymentSucceeded, BuildID: w.build.ID,
		ReleaseID: w.release.ID, Nodes: []gestor.NodeID{node}, CreatedAt: at, FinishedAt: at.Add(time.Minute),
		Phases: []gestor.Phase{{Name: "build", StartedAt: at, FinishedAt: at.Add(time.Second)}},
	}
	w.task = gestor.Task{
		ID: gestor.TaskID("tsk_switch_" + slug), TenantID: m.tenant, Kind: gestor.TaskSwitch, State: gestor.TaskSucceeded, NodeID: node, AppID: app,
		DeploymentID: w.deployment.ID, Resource: "app/" + slug, CreatedAt: at,
		Spec:   wire(t, &agentv1.TaskSpec{Work: &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{Release: &agentv1.ReleaseSpec{Id: string(w.release.ID)}}}}),
		Result: wire(t, &agentv1.TaskResult{Result: &agentv1.TaskResult_Switch{Switch: &agentv1.SwitchResult{Addresses: []string{"http://" + slug + ".example"}}}}),
	}
	build := gestor.Task{ID: w.build.TaskID, TenantID: m.tenant, Kind: gestor.TaskBuild, State: gestor.TaskSucceeded, AppID: app, BuildID: w.build.ID, CreatedAt: at}
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		a, err := x.In(gestor.SystemScope()).App(ctx, app)
		if err != nil {
			return err
		}
		a.CurrentRelease, a.LastBuild, a.Status = w.release.ID, 1, gestor.AppActive
		for _, put := range []func() error{
			func() error { return x.PutApp(ctx, a) },
			func() error { return x.PutBuild(ctx, w.build) },
			func() error { return x.PutRelease(ctx, w.release) },
			func() error { return x.PutDeployment(ctx, w.deployment) },
			func() error { return x.PutTask(ctx, w.task) },
			func() error { return x.PutTask(ctx, build) },
		} {
			if err := put(); err != nil {
				return err
			}
		}
		return nil
	})
	return w
}

func wire(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantKind fails unless err is a fault of that kind.
func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind || err == nil {
		t.Errorf("got %v (%s), want %s", err, fault.KindOf(err), kind)
	}
}

// inFiles reports whether any file of the state holds text.
func (m *machine) inFiles(t *testing.T, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || strings.Contains(string(b), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
