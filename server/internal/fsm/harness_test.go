package fsm

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// world is a state machine with a clock that the test turns.
type world struct {
	t     testing.TB
	fsm   *FSM
	store *state.Store
	index uint64
	now   time.Time
	actor gestor.Actor
}

var (
	system = gestor.SystemActor("test")
	alice  = gestor.Actor{Kind: "user", ID: "usr_a", Name: "alice", TenantID: "ten_a"}
	start  = time.Date(2026, 11, 23, 19, 30, 5, 0, time.UTC)
	secret = hashOf("secret")
)

func hashOf(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func emptyWorld(t testing.TB) *world {
	t.Helper()
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &world{t: t, fsm: New(store, "test"), store: store, now: start, actor: system}
}

// newWorld is a claimed installation of tenant ten_a with node nod_1 ("web1") and app app_1 ("shop") on it.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := emptyWorld(t)
	for _, op := range founding() {
		w.must(op)
	}
	w.actor = alice
	w.must(command.CreateApp{App: newApp("app_1", "shop", "nod_1")})
	return w
}

// released is the level of the program as it is released; with the tag gestor_next there is a higher one.
const released = 2

func founding() []command.Op {
	return []command.Op{
		command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: released},
		command.Claim{SetupHash: secret, TenantID: "ten_a", TenantName: "A", UserID: "usr_a", Email: "a@example.com"},
		command.CreateJoinToken{Token: newToken("join_1", "nod_1", "web1")},
		command.EnrollNode{TokenID: "join_1", SecretHash: secret, SPKI: hashOf("key")},
	}
}

func newToken(id string, node gestor.NodeID, name string) gestor.JoinToken {
	return gestor.JoinToken{
		ID: id, TenantID: "ten_a", SecretHash: secret, NodeName: name, NodeID: node, ExpiresAt: start.Add(time.Hour),
	}
}

func newServerToken(id string) gestor.ServerToken {
	return gestor.ServerToken{ID: id, SecretHash: secret, Replaces: "srv_1", ExpiresAt: start.Add(time.Hour)}
}

func newServer(id gestor.ServerID, name string) gestor.Server {
	return gestor.Server{
		ID: id, Name: name, PeerAddress: name + ".example.com:8444", Addresses: []string{name + ".example.com:8443"}, Version: "v1", Level: command.Level,
	}
}

func newApp(id gestor.AppID, slug string, nodes ...gestor.NodeID) gestor.App {
	return gestor.App{ID: id, Slug: slug, Settings: gestor.AppSettings{
		Repository: "https://example.com/" + slug, Domains: []string{slug + ".example.com"}, Nodes: nodes,
	}}
}

func newBuild(id gestor.BuildID, app gestor.AppID) command.CreateBuild {
	return command.CreateBuild{ID: id, AppID: app, Ref: "main", Task: gestor.Task{
		ID: gestor.TaskID("tsk_" + id), Kind: gestor.TaskBuild, Candidates: []gestor.NodeID{"nod_1"}, MaxAttempts: 2,
		Timeout: time.Minute, OnLost: gestor.LostRetry,
	}}
}

func newTask(id gestor.TaskID, kind string) command.CreateTask {
	return command.CreateTask{Task: gestor.Task{ID: id, Kind: kind, NodeID: "nod_1", AppID: "app_1", Timeout: time.Minute}}
}

func builtResult(t testing.TB) []byte {
	t.Helper()
	b, err := proto.Marshal(&agentv1.TaskResult{Result: &agentv1.TaskResult_Build{
		Build: &agentv1.BuildResult{Commit: "c0ffee", ArtifactDigest: "d1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// apply applies commands as one entry.
func (w *world) apply(commands ...command.Command) []Result {
	w.t.Helper()
	w.index++
	return w.fsm.Apply([]Entry{{Index: w.index, Data: entryOf(w.t, commands...)}})[0]
}

func entryOf(t testing.TB, commands ...command.Command) []byte {
	t.Helper()
	batch := &raftv1.Batch{}
	for _, c := range commands {
		m, err := command.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		batch.Commands = append(batch.Commands, m)
	}
	data, err := proto.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) do(op command.Op) Result {
	w.t.Helper()
	return w.apply(command.Command{At: w.now, Actor: w.actor, Op: op})[0]
}

func (w *world) must(op command.Op) command.Receipt {
	w.t.Helper()
	r := w.do(op)
	if r.Err != nil {
		w.t.Fatalf("%T: %v", op, r.Err)
	}
	return r.Receipt
}

// refuses checks that op is refused with a kind and changes nothing but the applied index.
func (w *world) refuses(kind fault.Kind, op command.Op) {
	w.t.Helper()
	_ = w.refusal(kind, op)
}

// refusal is refuses, for tests of what the refusal says.
func (w *world) refusal(kind fault.Kind, op command.Op) error {
	w.t.Helper()
	index := w.index
	w.fsm.Apply([]Entry{{Index: index}}) // the applied index is part of the hash
	before := w.hash()
	r := w.do(op)
	if !errors.Is(r.Err, kind) {
		w.t.Fatalf("%T: got %v, want a refusal of kind %s", op, r.Err, kind)
	}
	w.fsm.Apply([]Entry{{Index: index}})
	if w.hash() != before {
		w.t.Errorf("%T was refused and changed the state", op)
	}
	return r.Err
}

func (w *world) hash() string {
	w.t.Helper()
	h, err := w.store.Hash(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) view() *state.View { return w.store.View(gestor.SystemScope()) }

func (w *world) app(id gestor.AppID) gestor.App {
	w.t.Helper()
	a, err := w.view().App(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) task(id gestor.TaskID) gestor.Task {
	w.t.Helper()
	x, err := w.view().Task(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func (w *world) deployment(id gestor.DeploymentID) gestor.Deployment {
	w.t.Helper()
	d, err := w.view().Deployment(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) release(id gestor.ReleaseID) gestor.Release {
	w.t.Helper()
	r, err := w.view().Release(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) build(id gestor.BuildID) gestor.Build {
	w.t.Helper()
	b, err := w.view().Build(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// finish leases and ends a task on nod_1.
func (w *world) finish(id gestor.TaskID, outcome gestor.TaskState, result []byte) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute) // past any back-off
	fence := w.must(command.LeaseTask{ID: id, Node: "nod_1"}).Revision
	w.must(command.StartTask{ID: id, Fence: fence})
	w.must(command.FinishTask{ID: id, Fence: fence, Outcome: outcome, Error: "because", Result: result})
}

// deploy deploys app_1 with a new build as far as state.
func (w *world) deploy(name string, to ...gestor.DeploymentState) gestor.DeploymentID {
	w.t.Helper()
	b := newBuild(gestor.BuildID("bld_"+name), "app_1")
	id := gestor.DeploymentID("dep_" + name)
	w.must(command.CreateDeployment{ID: id, AppID: "app_1", Build: &b, NewReleaseID: gestor.ReleaseID("rel_" + name)})
	w.finish(b.Task.ID, gestor.TaskSucceeded, builtResult(w.t))
	from := gestor.DeploymentBuilding
	for _, s := range to {
		w.now = w.now.Add(time.Second)
		op := command.AdvanceDeployment{ID: id, From: from, To: s}
		if s == gestor.DeploymentFailed || s == gestor.DeploymentReverting {
			op.Error = "it broke"
		}
		w.must(op)
		from = s
	}
	return id
}

var live = []gestor.DeploymentState{
	gestor.DeploymentPreparing, gestor.DeploymentSwitching, gestor.DeploymentWatching, gestor.DeploymentSucceeded,
}

// sealedWith looks like what a key ring seals with the key 000000<id>.
func sealedWith(id byte, text string) []byte {
	return append([]byte{1, 0, 0, 0, id}, text...)
}
