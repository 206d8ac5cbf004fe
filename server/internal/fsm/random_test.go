package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// anyOp draws an op over few ids, so that ops meet.
func anyOp(r *rapid.T, result []byte) command.Op {
	n := func(what string) string { return fmt.Sprint(rapid.IntRange(1, 3).Draw(r, what)) }
	app, task := gestor.AppID("app_"+n("app")), gestor.TaskID("tsk_"+n("task"))
	build, dep := gestor.BuildID("bld_"+n("build")), gestor.DeploymentID("dep_"+n("deployment"))
	rel, node := gestor.ReleaseID("rel_"+n("release")), gestor.NodeID("nod_"+n("node"))
	states := []gestor.DeploymentState{"building", "preparing", "switching", "watching", "reverting", "succeeded", "failed", "cancelled"}
	outcomes := []gestor.TaskState{gestor.TaskSucceeded, gestor.TaskFailed, gestor.TaskCancelled}
	fence := rapid.Uint64Range(1, 80).Draw(r, "fence")
	work := rapid.SampledFrom([]gestor.TaskID{task, gestor.TaskID("tsk_" + build)}).Draw(r, "work")
	newOne := newBuild(build, app)
	ops := []command.Op{
		command.CreateJoinToken{Token: newToken("join_"+string(node), node, "web"+string(node))},
		command.EnrollNode{TokenID: "join_" + string(node), SecretHash: secret, SPKI: hashOf(string(node))},
		command.SetNodeStatus{ID: node, Status: gestor.NodeConnected},
		command.DeleteNode{ID: node},
		command.CreateApp{App: newApp(app, "slug"+string(app), "nod_1")},
		command.UpdateEnv{AppID: app, Set: map[string][]byte{"A": []byte("1"), "B": []byte("2"), "C": nil}, Unset: []string{"D"}},
		command.DeleteApp{ID: app},
		command.ForgetApp{ID: app},
		newOne,
		command.CreateDeployment{ID: dep, AppID: app, Build: &newOne, NewReleaseID: rel},
		command.CreateDeployment{ID: dep, AppID: app, ReleaseID: rel, AllowBad: true},
		command.AdvanceDeployment{
			ID: dep, From: rapid.SampledFrom(states).Draw(r, "from"), To: rapid.SampledFrom(states).Draw(r, "to"),
			Tasks: []command.CreateTask{newTask(task, gestor.TaskPrepare)}, Error: "e",
		},
		command.CancelDeployment{ID: dep},
		command.PinRelease{ID: rel, Pinned: true},
		newTask(task, gestor.TaskDetect),
		command.LeaseTask{ID: work, Node: node},
		command.StartTask{ID: work, Fence: fence},
		command.FinishTask{ID: work, Fence: fence, Outcome: rapid.SampledFrom(outcomes).Draw(r, "outcome"), Retryable: true, Result: result},
		command.LoseTask{ID: work, Fence: fence},
		command.RetryTask{ID: work},
		command.CancelTask{ID: work},
		command.ExplainTasks{Waiting: map[gestor.TaskID]string{task: "a", work: "b"}},
		command.CreateServerToken{Token: newServerToken("tok_" + string(node))},
		command.EnrollServer{TokenID: "tok_" + string(node), SecretHash: secret, Server: newServer(gestor.ServerID("srv_"+n("server")), "ctl")},
		command.PutServer{Server: newServer(gestor.ServerID("srv_"+n("server")), "ctl"+n("name"))},
		command.DeleteServer{ID: gestor.ServerID("srv_" + n("server"))},
		command.Prune{Before: start.Add(time.Duration(fence) * time.Second)},
	}
	if rapid.Bool().Draw(r, "people") {
		return anyOpOfPeople(r, n)
	}
	return rapid.SampledFrom(ops).Draw(r, "op")
}

// anyOpOfPeople draws an op of those that came with level 2, also over few ids.
func anyOpOfPeople(r *rapid.T, n func(what string) string) command.Op {
	user, tenant := gestor.UserID("usr_"+n("user")), gestor.TenantID("ten_"+n("tenant"))
	app, dep := gestor.AppID("app_"+n("app")), gestor.DeploymentID("dep_"+n("deployment"))
	email, invitation := "p"+n("address")+"@example.com", gestor.InvitationID("inv_"+n("invitation"))
	key, channel := "0000000"+n("key"), gestor.ChannelID("chn_"+n("channel"))
	role := rapid.SampledFrom([]gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleViewer}).Draw(r, "role")
	status := rapid.SampledFrom([]string{gestor.StatusActive, gestor.StatusInactive, gestor.StatusBlocked}).Draw(r, "status")
	life := rapid.SampledFrom([]string{gestor.StatusActive, gestor.StatusSuspended, gestor.StatusTrash}).Draw(r, "life")
	version := rapid.Int64Range(1, 5).Draw(r, "version")
	ops := []command.Op{
		command.CreateInvitation{Invitation: newInvitation(invitation, email, role)},
		command.RenewInvitation{ID: invitation, SecretHash: hashOf("again"), ExpiresAt: start.Add(time.Hour)},
		command.AcceptInvitation{SecretHash: hashOf("again"), UserID: user, PasswordHash: "$argon2id$1"},
		command.RevokeInvitation{ID: invitation},
		command.UpdateUser{ID: user, Role: &role, Status: &status},
		command.DeleteUser{ID: user},
		command.CreateSession{Session: newSession(gestor.SessionID("ses_" + n("session"))), Network: "192.0.2." + n("network")},
		command.EndSessions{UserID: "usr_a"},
		ofToken("tkn_"+n("token"), "ci"+n("name"), nil),
		command.DeleteToken{ID: gestor.TokenID("tkn_" + n("token"))},
		command.CreateTenant{Tenant: gestor.Tenant{ID: tenant, Name: "T", Plan: gestor.PlanFree}},
		command.SetTenantStatus{ID: tenant, Status: life, Reason: "because"},
		command.RestoreTenant{ID: tenant},
		command.PurgeTenant{ID: tenant},
		command.ShareNode{ID: gestor.NodeID("nod_" + n("node")), Shared: role == gestor.RoleAdmin, Owner: tenant},
		command.RegisterKey{KeyID: key},
		command.RotateKey{KeyID: key, Again: true},
		command.ActivateKey{KeyID: key},
		command.FinishRotation{KeyID: key},
		command.DropKeys{},
		command.UpdateEnv{AppID: app, Set: map[string][]byte{"A": sealedWith(1, n("a")), "B": sealedWith(2, n("b")), "C": sealedWith(3, n("c"))}},
		command.RollbackEnv{AppID: app, Version: version},
		command.CreateChannel{Channel: newChannel(channel, "calls"+n("name"))},
		command.DeleteChannel{ID: channel},
		command.RecordEvent{Event: newEvent("thing.broke", "thing_"+n("thing"))},
		command.RecordDelivery{ID: gestor.NewDeliveryID(uint64(version)+5, 0), State: gestor.DeliverySent},
		command.MarkEventsRead{UserID: "usr_a", UpTo: gestor.NewEventID(uint64(version)+5, 0)},
		command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: role == gestor.RoleAdmin, Approvals: 1}},
		command.HoldDeployment{ID: dep, Waiting: "waits", Approval: true},
		command.ApproveDeployment{ID: dep},
		command.RejectDeployment{ID: dep},
		command.OverrideFreeze{ID: dep},
		command.RecordAudit{Entries: []gestor.AuditEntry{attempt(start.AddDate(int(version)/4, 0, 0))}},
		command.CreateProvider{Provider: newProvider("prv_"+gestor.ProviderID(n("provider")), "Company"+n("name"), "firm"+n("domain")+".example")},
		admission("prv_"+gestor.ProviderID(n("provider")), uint64(version)+5, "s"+n("subject"), email, n("nonce")),
	}
	return rapid.SampledFrom(ops).Draw(r, "op")
}

// later is a second after a time, or, now and then, so much later that what waits in the trash may go.
func later(r *rapid.T, at time.Time) time.Time {
	if rapid.IntRange(0, 39).Draw(r, "leap") == 0 {
		return at.Add(gestor.TrashTime)
	}
	return at.Add(time.Second)
}

func anyActor(r *rapid.T) gestor.Actor {
	return rapid.SampledFrom([]gestor.Actor{alice, alice, olga, system, {Kind: "user", ID: "usr_1", Name: "b", TenantID: "ten_a"}}).Draw(r, "actor")
}

// fewer lowers the number of random stories, of which each makes three databases, unless somebody asks for a number.
func fewer(t *testing.T, checks string) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(checks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

func TestRandomCommands_GiveEqualStatesAlsoAcrossSnapshots(t *testing.T) {
	fewer(t, "30")
	result := builtResult(t)
	rapid.Check(t, func(r *rapid.T) {
		one, two, three := newWorld(t), newWorld(t), emptyWorld(t)
		defer func() { // now, not at the end of the test: there are hundreds
			for _, w := range []*world{one, two, three} {
				_ = w.store.Close()
			}
		}()
		entries := make([]Entry, rapid.IntRange(1, 80).Draw(r, "entries"))
		at := start
		for i := range entries {
			at = later(r, at)
			c := command.Command{At: at, Actor: anyActor(r), Op: anyOp(r, result)}
			c.RequestID = fmt.Sprint("r", rapid.IntRange(0, 200).Draw(r, "request"))
			c.Actor.Action = "test"
			entries[i] = Entry{Index: one.index + uint64(i) + 1, Data: entryOf(t, c)}
		}
		half := rapid.IntRange(0, len(entries)).Draw(r, "half")
		first := one.fsm.Apply(entries)
		for _, e := range entries[:half] { // one by one instead of together
			two.fsm.Apply([]Entry{e})
		}
		copyState(t, two, three)
		if two.hash() != three.hash() {
			r.Fatal("a restored state is another")
		}
		again := three.fsm.Apply(entries[half:])
		two.fsm.Apply(entries[half:])
		if one.hash() != two.hash() || two.hash() != three.hash() {
			r.Fatal("the same commands gave different states")
		}
		for i, results := range again {
			if fmt.Sprint(results) != fmt.Sprint(first[half+i]) {
				r.Fatalf("entry %d: %v and %v", half+i, first[half+i], results)
			}
		}
	})
}

func copyState(t testing.TB, from, to *world) {
	t.Helper()
	if err := to.fsm.Restore(bytes.NewReader(snapshotOf(t, from))); err != nil {
		t.Fatal(err)
	}
}

func snapshotOf(t testing.TB, w *world) []byte {
	t.Helper()
	s, err := w.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Write(&out); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestApply_KnowsEveryOpOfTheContract(t *testing.T) {
	ops := (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		m := &raftv1.Command{}
		m.ProtoReflect().Mutable(ops.Get(i))
		data, err := proto.Marshal(&raftv1.Batch{Commands: []*raftv1.Command{m}})
		if err != nil {
			t.Fatal(err)
		}
		w := emptyWorld(t)
		if got := w.fsm.Apply([]Entry{{Index: 1, Data: data}}); len(got[0]) != 1 { // a missing apply function panics
			t.Errorf("%s: got %v", ops.Get(i).Name(), got)
		}
	}
}
