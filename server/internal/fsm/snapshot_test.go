package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/saas-gestor/gestor/proto/fault"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestRestore_RefusesADamagedSnapshotAndKeepsTheState(t *testing.T) {
	w := newWorld(t)
	whole := snapshotOf(t, w)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0x40
	before := w.hash()
	for name, damaged := range map[string][]byte{
		"flipped": flipped, "cut": whole[:len(whole)-20], "empty": nil, "only a header": whole[:80],
	} {
		if err := w.fsm.Restore(bytes.NewReader(damaged)); err == nil {
			t.Errorf("a snapshot that is %s was restored", name)
		}
	}
	if w.hash() != before {
		t.Error("a refused snapshot changed the state")
	}
	w.must(command.SetNodeDraining{ID: "nod_1", Draining: true})
}

func TestRestore_RefusesAnotherClusterAndANewerFormat(t *testing.T) {
	w, other := newWorld(t), emptyWorld(t)
	other.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_2"}})
	err := w.fsm.Restore(bytes.NewReader(snapshotOf(t, other)))
	if err == nil || !strings.Contains(err.Error(), "clu_2") || !strings.Contains(err.Error(), "clu_1") {
		t.Errorf("got %v", err)
	}
	var newer bytes.Buffer
	for _, h := range []*raftv1.SnapshotHeader{{Format: 2}, {Format: 1, Level: 99}} {
		newer.Reset()
		h.ClusterId, h.Version = "clu_1", "9.0"
		if _, err := protodelim.MarshalTo(&newer, h); err != nil {
			t.Fatal(err)
		}
		if err := w.fsm.Restore(&newer); !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "9.0") {
			t.Errorf("got %v", err)
		}
	}
}

func TestSnapshot_IsOfTheMomentItWasTaken(t *testing.T) {
	w, copied := newWorld(t), emptyWorld(t)
	want := w.hash()
	s, err := w.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	w.must(command.SetNodeDraining{ID: "nod_1", Draining: true}) // Apply goes on meanwhile
	var out bytes.Buffer
	if err := errors.Join(s.Write(&out), s.Release()); err != nil {
		t.Fatal(err)
	}
	if err := copied.fsm.Restore(&out); err != nil {
		t.Fatal(err)
	}
	if copied.hash() != want {
		t.Error("the snapshot holds what was applied after it")
	}
}

var golden = flag.Bool("golden", false, "write the golden files of this version instead of checking them")

// The golden files are kept for every level, forever: a log of commands, the state it leads to and a snapshot of it.
func goldenFile(level uint32, what string) string { return fmt.Sprintf("testdata/v%d.%s", level, what) }

func TestGolden_LogAndSnapshotOfEveryLevelGiveTheStateTheyAlwaysGave(t *testing.T) {
	if *golden {
		writeGolden(t, released)
	}
	for level := range uint32(released) {
		t.Run(fmt.Sprintf("level %d", level+1), func(t *testing.T) { checkGolden(t, level+1) })
	}
}

func checkGolden(t *testing.T, level uint32) {
	t.Helper()
	fromLog, fromSnapshot := emptyWorld(t), emptyWorld(t)
	for i, data := range readLog(t, level) {
		fromLog.fsm.Apply([]Entry{{Index: uint64(i) + 1, Data: data}})
	}
	f, err := os.Open(goldenFile(level, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := fromSnapshot.fsm.Restore(f); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(goldenFile(level, "hash"))
	if err != nil {
		t.Fatal(err)
	}
	if fromLog.hash() != strings.TrimSpace(string(want)) {
		t.Errorf("the log leads to state %s, it used to lead to %s", fromLog.hash(), want)
	}
	if fromSnapshot.hash() != strings.TrimSpace(string(want)) {
		t.Errorf("the snapshot holds state %s, it used to hold %s", fromSnapshot.hash(), want)
	}
}

func readLog(t testing.TB, level uint32) [][]byte {
	t.Helper()
	b, err := os.ReadFile(goldenFile(level, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		out = append(out, b[size:size+int(n)])
		b = b[size+int(n):]
	}
	return out
}

func writeGolden(t testing.TB, level uint32) {
	t.Helper()
	w := emptyWorld(t)
	var log []byte
	for _, c := range story(t) {
		data := entryOf(t, c)
		log = append(binary.AppendUvarint(log, uint64(len(data))), data...)
		w.index++
		if r := w.fsm.Apply([]Entry{{Index: w.index, Data: data}})[0][0]; r.Err != nil {
			t.Fatalf("%T: %v", c.Op, r.Err)
		}
	}
	for path, data := range map[string][]byte{
		goldenFile(level, "log"): log, goldenFile(level, "snapshot"): snapshotOf(t, w), goldenFile(level, "hash"): []byte(w.hash() + "\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// story is a life of an installation with every kind of command that succeeds in it.
func story(t testing.TB) []command.Command {
	t.Helper()
	b := newBuild("bld_1", "app_1")
	result := builtResult(t)
	stamp := gestor.User{ID: "usr_a", Email: "a@example.com", PasswordHash: "$argon2id$2"}.Stamp()
	ops := append(founding(),
		command.CreateSession{Session: gestor.Session{ID: "ses_1", UserID: "usr_a", TokenHash: secret, ExpiresAt: start.Add(1e12)}},
		command.RenewNode{ID: "nod_1", Generation: 1},
		command.SetNodeStatus{ID: "nod_1", Status: gestor.NodeConnected},
		command.SetNodeDraining{ID: "nod_1"},
		command.CreateApp{App: newApp("app_1", "shop", "nod_1")},
		command.UpdateApp{ID: "app_1", Settings: newApp("app_1", "shop", "nod_1").Settings},
		command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": []byte("sealed")}, Unset: []string{"B"}},
		command.CreateDeployment{ID: "dep_1", AppID: "app_1", Build: &b, NewReleaseID: "rel_1"},
		command.ExplainTasks{Waiting: map[gestor.TaskID]string{b.Task.ID: "web1 is busy"}},
		command.LeaseTask{ID: b.Task.ID, Node: "nod_1"}, // entry 14 is its fence
		command.StartTask{ID: b.Task.ID, Fence: 14},
		command.ReportTask{ID: b.Task.ID, Fence: 14, Phase: "install", Percent: 10},
		command.FinishTask{ID: b.Task.ID, Fence: 14, Outcome: gestor.TaskSucceeded, Result: result},
		command.AdvanceDeployment{ID: "dep_1", From: "building", To: "preparing", Tasks: []command.CreateTask{newTask("tsk_p", "prepare")}},
		command.LeaseTask{ID: "tsk_p", Node: "nod_1"}, // entry 19 is its fence
		command.LoseTask{ID: "tsk_p", Fence: 19},
		command.RetryTask{ID: "tsk_p"},
		command.AdvanceDeployment{ID: "dep_1", From: "preparing", To: "switching"},
		command.AdvanceDeployment{ID: "dep_1", From: "switching", To: "watching"},
		command.CancelDeployment{ID: "dep_1"},
		command.AdvanceDeployment{ID: "dep_1", From: "watching", To: "succeeded"},
		command.PinRelease{ID: "rel_1", Pinned: true},
		newBuild("bld_2", "app_1"),
		command.CancelTask{ID: "tsk_bld_2"},
		newTask("tsk_d", gestor.TaskDetect),
		command.CreateJoinToken{Token: newToken("join_2", "nod_2", "web2")},
		command.EnrollNode{TokenID: "join_2", SecretHash: secret, SPKI: hashOf("k2")},
		command.DeleteNode{ID: "nod_2"},
		command.CreateApp{App: newApp("app_2", "blog", "nod_1")},
		command.DeleteApp{ID: "app_2"},
		command.ForgetApp{ID: "app_2"},
		command.DeleteSession{ID: "ses_1"},
		command.PutServer{Server: newServer("srv_1", "ctl1")},
		command.CreateServerToken{Token: newServerToken("tok_1")},
		command.EnrollServer{TokenID: "tok_1", SecretHash: secret, Server: newServer("srv_2", "ctl1")},
		command.DeleteServer{ID: "srv_1"},
		command.CreateInvitation{Invitation: newInvitation("inv_1", "bia@example.com", gestor.RoleDevOps)},
		command.RenewInvitation{ID: "inv_1", SecretHash: hashOf("second"), ExpiresAt: start.Add(time.Hour), Mailed: true},
		command.AcceptInvitation{SecretHash: hashOf("second"), UserID: "usr_b", Name: "Bia", PasswordHash: "$argon2id$1"},
		command.CreateInvitation{Invitation: newInvitation("inv_2", "caio@example.com", gestor.RoleViewer)},
		command.RevokeInvitation{ID: "inv_2"},
		command.UpdateUser{ID: "usr_b", Role: new(gestor.RoleDeveloper), Narrow: &gestor.Narrowing{Apps: []gestor.AppID{"app_1"}}},
		command.ResetUserPassword{ID: "usr_b"},
		command.SetPassword{UserID: "usr_a", PasswordHash: "$argon2id$2", Stamp: gestor.User{ID: "usr_a", Email: "a@example.com"}.Stamp()},
		command.ConfirmEmail{UserID: "usr_a", Email: "a@example.com", Stamp: stamp},
		command.DeleteUser{ID: "usr_b"},
		command.RegisterKey{KeyID: "0000000a"},
		command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"B": sealedWith(0x0a, "old")}},
		command.RotateKey{KeyID: "0000000b"},
		command.ConfirmKey{KeyID: "0000000b", Server: "srv_2"},
		command.ActivateKey{KeyID: "0000000b"},
		command.Reseal{Values: []gestor.Resealed{{
			Column: "application_env.sealed", Key: []string{"app_1", "B"}, Before: hashOf(string(sealedWith(0x0a, "old"))), Sealed: sealedWith(0x0b, "new"),
		}}},
		command.FinishRotation{KeyID: "0000000b"},
		command.DropKeys{},
		command.RollbackEnv{AppID: "app_1", Version: 1},
		command.AddFactor{Factor: gestor.Factor{ID: "fac_1", UserID: "usr_a", Kind: gestor.FactorTOTP, Secret: []byte("sealed"), Step: 7}, Recovery: [][]byte{hashOf("r1")}},
		command.SetRecoveryCodes{UserID: "usr_a", Hashes: [][]byte{hashOf("r1"), hashOf("r2")}},
		command.RenameFactor{ID: "fac_1", Name: "Phone"},
		command.SignIn{Session: newSession("ses_2"), Network: "192.0.2.0/24", Use: gestor.FactorUse{Factor: "fac_1", Step: 8}, Stamp: stamp},
		command.Reauthenticate{ID: "ses_2", Use: gestor.FactorUse{Recovery: hashOf("r1")}, Stamp: stamp},
		command.TouchSessions{Touches: []gestor.Touch{{Session: "ses_2", At: start.Add(time.Hour), From: "192.0.2.1"}}},
		command.AddFactor{Factor: gestor.Factor{ID: "fac_2", UserID: "usr_a", Kind: gestor.FactorPasskey, CredentialID: []byte("key"), Credential: []byte("{}")}},
		command.RemoveFactor{ID: "fac_1"},
		command.EndSessions{UserID: "usr_a", Except: "ses_2"},
		command.ResetFactors{UserID: "usr_a"},
		ofToken("tkn_1", "ci", nil),
		command.DeleteToken{ID: "tkn_1"},
		command.RaiseLevel{Level: 1},
		command.Mark{ID: "mark_1"},
		command.Prune{Before: start},
	)
	ops = append(ops, eventStory(uint64(len(ops)))...)
	ops = append(ops, providerStory(uint64(len(ops)))...)
	var out []command.Command
	for i, op := range ops {
		actor := alice
		if i < 4 {
			actor = system
		}
		actor.Action = "golden"
		out = append(out, command.Command{RequestID: string(rune('A' + i)), At: start, Actor: actor, Op: op})
	}
	out = append(out, auditStory(t, out)...)
	out = append(out, protectionStory()...)
	return append(out, tenantStory()...)
}

func TestGolden_StoryHoldsEveryOpOfTheContract(t *testing.T) {
	told := map[string]bool{}
	for _, c := range story(t) {
		m, err := command.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		r := m.ProtoReflect()
		told[string(r.WhichOneof(r.Descriptor().Oneofs().ByName("op")).Name())] = true
	}
	ops := (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		if name := string(ops.Get(i).Name()); !told[name] {
			t.Errorf("no golden command has the op %s", name)
		}
	}
}
