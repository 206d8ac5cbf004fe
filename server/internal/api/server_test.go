package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm/fsmtest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// plant is the service of one server, ctl1, among ctl2 and ctl3. What the others are stands in for what is tested where
// servers really talk to each other.
type plant struct {
	*machine
	service gestorv1connect.ServerServiceClient

	mu      sync.Mutex
	members []cluster.Member  // guarded by mu
	removed []members.Removal // guarded by mu
	refuse  error             // guarded by mu; what a removal answers
	backup  []byte
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{machine: newMachine(t), backup: bytes.Repeat([]byte("backup "), 200_000)}
	p.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}})
	p.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_1", TenantName: "One", UserID: "usr_1", Email: "a@one.example"})
	token, hash := auth.NewBearer()
	p.put(t, func(ctx context.Context, x *state.Txn) error {
		session := gestor.Session{ID: "ses_1", UserID: "usr_1", TenantID: "ten_1", TokenHash: hash, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
		return x.PutSession(ctx, session)
	})
	for _, name := range []string{"ctl1", "ctl2", "ctl3"} {
		p.put(t, func(ctx context.Context, x *state.Txn) error {
			return x.PutServer(ctx, gestor.Server{ID: gestor.ServerID("srv_" + name), Name: name, PeerAddress: name + ":8444"})
		})
		p.members = append(p.members, cluster.Member{ID: "srv_" + name, Address: name + ":8444", Voter: true})
	}
	p.service = p.serve(t, token)
	return p
}

func (p *plant) serve(t *testing.T, token string) gestorv1connect.ServerServiceClient {
	t.Helper()
	service := api.NewServerService(api.ServerDeps{
		Engine: p, Replication: p, Peers: p, Backup: p.write, Pin: make([]byte, 32), PublicURL: publicURL,
		Derive: func(label string) []byte { sum := sha256.Sum256([]byte(label)); return sum[:] },
	})
	handler, err := api.New(api.Deps{Engine: p, Revision: p.applied.Load, Mounts: []api.Mount{
		func(o ...connect.HandlerOption) (string, http.Handler) {
			return gestorv1connect.NewServerServiceHandler(service, o...)
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test",
		Token: func() string { return token },
	})
	t.Cleanup(c.Close)
	return gestorv1connect.NewServerServiceClient(c.HTTP, c.URL, c.Options()...)
}

func (p *plant) Members() []cluster.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.members)
}

func (p *plant) Leader() string { return "srv_ctl1" }

func (p *plant) Barrier(context.Context) error { return nil }
func (p *plant) ID() string                    { return "srv_ctl1" }

func (p *plant) Statuses(_ context.Context, ids []gestor.ServerID) map[gestor.ServerID]*peerv1.GetStatusResponse {
	out := map[gestor.ServerID]*peerv1.GetStatusResponse{}
	for _, id := range ids {
		if id != "srv_ctl3" {
			out[id] = &peerv1.GetStatusResponse{Version: "v1", Revision: 9}
		}
	}
	return out
}

func (p *plant) MarkedStates(_ context.Context, ids []gestor.ServerID, revision uint64) map[gestor.ServerID]members.MarkedState {
	out := map[gestor.ServerID]members.MarkedState{}
	for _, id := range ids {
		out[id] = members.MarkedState{Hash: "h"}
		if revision != p.applied.Load() {
			out[id] = members.MarkedState{Err: errors.New("that is no mark")}
		}
	}
	return out
}

// Remove applies the command and lets Raft follow.
func (p *plant) Remove(_ context.Context, r members.Removal) (uint64, error) {
	p.mu.Lock()
	p.removed = append(p.removed, r)
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != nil {
		return 0, refuse
	}
	c, err := decoded(r.Command)
	if err != nil {
		return 0, err
	}
	receipt, err := fsmtest.Apply(p.fsm, p.applied.Add(1), c)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(m cluster.Member) bool { return m.ID == string(r.ID) })
	return receipt.Revision, err
}

func (p *plant) Transfer(_ context.Context, id gestor.ServerID) (gestor.ServerID, time.Duration, error) {
	if id == "" {
		id = "srv_ctl2"
	}
	return id, 20 * time.Millisecond, nil
}

func (p *plant) write(_ context.Context, w io.Writer) error {
	_, err := w.Write(p.backup)
	return err
}

func TestListServers_ShowsThoseThatAnswerAndThoseThatDoNot(t *testing.T) {
	p := newPlant(t)
	res, err := p.service.ListServers(t.Context(), &gestorv1.ListServersRequest{})
	if err != nil || len(res.GetServers()) != 3 {
		t.Fatalf("got %v, %v", res, err)
	}
	one, three := res.GetServers()[0], res.GetServers()[2]
	if !one.GetLeader() || !one.GetReachable() || one.GetPeerAddress() != "ctl1:8444" || three.GetReachable() || three.GetNotice() == "" {
		t.Errorf("got %v", res)
	}
}

func TestCreateServerToken_IsStoredAsAHashAndMadeOncePerRequest(t *testing.T) {
	p := newPlant(t)
	req := &gestorv1.CreateServerTokenRequest{RequestId: "once", Name: "ctl4", Replaces: "ctl3"}
	res, err := p.service.CreateServerToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.ParseJoinToken(res.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := p.View(gestor.SystemScope()).ServerToken(t.Context(), token.ID)
	if err != nil || !pki.SameHash(stored.SecretHash, pki.HashSecret(token.Secret)) || stored.Name != "ctl4" || stored.Replaces != "srv_ctl3" {
		t.Errorf("got %+v, %v", stored, err)
	}
	if ttl := time.Until(res.GetExpiresAt().AsTime()); ttl > 10*time.Minute || ttl < 9*time.Minute {
		t.Errorf("it is good for %s", ttl)
	}
	if want := "GESTOR_JOIN_TOKEN=" + res.GetToken() + " gestor-server --join " + publicURL; res.GetCommand() != want {
		t.Errorf("got %q", res.GetCommand())
	}
	if p.inFiles(t, token.Secret) {
		t.Error("the secret is in the state in clear")
	}
	again, err := p.service.CreateServerToken(t.Context(), req)
	if err != nil || again.GetToken() != res.GetToken() || !again.GetExpiresAt().AsTime().Equal(res.GetExpiresAt().AsTime()) {
		t.Errorf("the same request gave %v, %v", again, err)
	}
	req.RequestId = ""
	first, err1 := p.service.CreateServerToken(t.Context(), req)
	second, err2 := p.service.CreateServerToken(t.Context(), req)
	if err1 != nil || err2 != nil || first.GetToken() == second.GetToken() {
		t.Errorf("two requests gave one token: %v, %v", err1, err2)
	}
}

func TestCreateServerToken_NamesWhatIsWrong(t *testing.T) {
	p := newPlant(t)
	for _, c := range []struct {
		req  *gestorv1.CreateServerTokenRequest
		kind fault.Kind
	}{
		{&gestorv1.CreateServerTokenRequest{Name: "$(id)"}, fault.KindInvalid},
		{&gestorv1.CreateServerTokenRequest{Name: "ctl1"}, fault.KindExists},
		{&gestorv1.CreateServerTokenRequest{Replaces: "ctl9"}, fault.KindNotFound},
		{&gestorv1.CreateServerTokenRequest{Replaces: "srv_9"}, fault.KindNotFound},
	} {
		_, err := p.service.CreateServerToken(t.Context(), c.req)
		wantKind(t, err, c.kind)
	}
}

func TestRemoveServer_IsDoneInTheNameOfWhoAskedAndOnlyOnce(t *testing.T) {
	p := newPlant(t)
	p.refuse = fault.Conflict("2 of 2 are needed")
	req := &gestorv1.RemoveServerRequest{RequestId: "bye", Server: "ctl2"}
	_, err := p.service.RemoveServer(t.Context(), req)
	wantKind(t, err, fault.KindConflict)
	p.refuse, req.Force = nil, true
	for range 2 { // the second answer is that of the first
		if _, err := p.service.RemoveServer(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.removed) != 2 || p.removed[0].Force || !p.removed[1].Force || p.removed[1].ID != "srv_ctl2" {
		t.Errorf("asked for %+v", p.removed)
	}
	entries, _, err := p.View(gestor.TenantScope("ten_1")).AuditEntries(t.Context(), gestor.Page{})
	if err != nil || !slices.ContainsFunc(entries, func(e gestor.AuditEntry) bool {
		return e.Action == "server.remove" && e.Actor.ID == "usr_1" && e.Object == "srv_ctl2"
	}) {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
	req.RequestId = "another"
	_, err = p.service.RemoveServer(t.Context(), req)
	wantKind(t, err, fault.KindNotFound)
	if err == nil || !strings.Contains(err.Error(), "ctl2") {
		t.Errorf("it does not say which: %v", err)
	}
}

func TestTransferLeader_TakesANameAndAnswersWithOne(t *testing.T) {
	p := newPlant(t)
	for ref, want := range map[string]string{"": "ctl2", "ctl3": "ctl3", "srv_ctl3": "ctl3"} {
		res, err := p.service.TransferLeader(t.Context(), &gestorv1.TransferLeaderRequest{Server: ref})
		if err != nil || res.GetLeader() != want || res.GetTook().AsDuration() != 20*time.Millisecond {
			t.Errorf("%q: got %v, %v", ref, res, err)
		}
	}
	_, err := p.service.TransferLeader(t.Context(), &gestorv1.TransferLeaderRequest{Server: "ctl9"})
	wantKind(t, err, fault.KindNotFound)
}

func TestCheckServers_ComparesAtOneMark(t *testing.T) {
	p := newPlant(t)
	res, err := p.service.CheckServers(t.Context(), &gestorv1.CheckServersRequest{})
	if err != nil || !res.GetEqual() || len(res.GetServers()) != 3 || res.GetRevision() != p.applied.Load() {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestBackup_ArrivesWhole(t *testing.T) {
	p := newPlant(t)
	stream, err := p.service.Backup(t.Context(), &gestorv1.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var got []byte
	for stream.Receive() {
		got = append(got, stream.Msg().GetData()...)
	}
	if err := stream.Err(); err != nil || !bytes.Equal(got, p.backup) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(p.backup), err)
	}
}

func TestAudit_TellsWhoTookABackupAndWhoMovedTheLeader(t *testing.T) {
	p := newPlant(t)
	stream, err := p.service.Backup(t.Context(), &gestorv1.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.service.TransferLeader(t.Context(), &gestorv1.TransferLeaderRequest{Server: "ctl2"}); err != nil {
		t.Fatal(err)
	}
	entries, _, err := p.View(gestor.TenantScope("ten_1")).AuditEntries(t.Context(), gestor.Page{})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, e := range entries {
		told[e.Action] = e.Actor.ID + " " + e.Object
	}
	if told["server.transfer_leader"] != "usr_1 srv_ctl2" || !strings.HasPrefix(told["server.backup"], "usr_1 backup_") {
		t.Errorf("got %v", told)
	}
}
