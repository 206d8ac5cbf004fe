package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// envAt are an app's values by name in a version, as they are in the state.
func (w *world) envAt(version int64) map[string]string {
	w.t.Helper()
	vars, err := w.view().EnvAt(w.t.Context(), "app_1", version)
	if err != nil {
		w.t.Fatalf("version %d: %v", version, err)
	}
	out := map[string]string{}
	for _, v := range vars {
		out[v.Name] = string(v.Sealed)
	}
	return out
}

func (w *world) setEnv(unset []string, pairs ...string) {
	w.t.Helper()
	set := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		set[pairs[i]] = []byte(pairs[i+1])
	}
	w.must(command.UpdateEnv{AppID: "app_1", Set: set, Unset: unset})
}

func TestUpdateEnv_MakesAVersionOfEveryChangeAndKeepsTheOnesBefore(t *testing.T) {
	w := newWorld(t)
	w.setEnv(nil, "A", "a2", "B", "b2")
	w.setEnv([]string{"B"}, "A", "a3")
	w.setEnv([]string{"NONE"}) // changes nothing
	w.setEnv(nil, "C", "c4")
	for version, want := range map[int64]string{
		1: "map[]", 2: "map[A:a2 B:b2]", 3: "map[A:a3]", 4: "map[A:a3 C:c4]", 0: "map[A:a3 C:c4]",
	} {
		if got := fmt.Sprint(w.envAt(version)); got != want {
			t.Errorf("version %d is %s, want %s", version, got, want)
		}
	}
	changes, err := w.view().EnvChanges(t.Context(), "app_1")
	if err != nil || fmt.Sprint(changes[3]) != "{[A] [B]}" {
		t.Errorf("version 3 changed %v, %v", changes[3], err)
	}
	vars, err := w.view().Env(t.Context(), "app_1")
	if err != nil || vars[0].SetBy != "alice" || vars[0].Since != 3 {
		t.Errorf("got %+v, %v", vars, err)
	}
}

func TestRollbackEnv_BringsAnOldVersionBackAsTheNewest(t *testing.T) {
	w := newWorld(t)
	w.setEnv(nil, "A", "a2", "B", "b2")
	w.setEnv([]string{"B"}, "A", "a3", "C", "c3")
	w.must(command.RollbackEnv{AppID: "app_1", Version: 2})
	if got := fmt.Sprint(w.envAt(4)); got != "map[A:a2 B:b2]" {
		t.Errorf("got %s", got)
	}
	v, err := w.view().EnvVersion(t.Context(), "app_1", 4)
	if err != nil || v.Restores != 2 {
		t.Errorf("got %+v, %v", v, err)
	}
	for version, kind := range map[int64]fault.Kind{4: fault.KindConflict, 9: fault.KindNotFound, 0: fault.KindInvalid} {
		if r := w.do(command.RollbackEnv{AppID: "app_1", Version: version}); !errors.Is(r.Err, kind) {
			t.Errorf("version %d: got %v", version, r.Err)
		}
	}
}

func TestCreateDeployment_FixesTheVersionAndGoingBackTakesThatOfTheRelease(t *testing.T) {
	w := newWorld(t)
	w.setEnv(nil, "A", "old")
	deployed(t, w, "1")
	w.setEnv(nil, "A", "new")
	deployed(t, w, "2")
	for id, want := range map[gestor.ReleaseID]int64{"rel_1": 2, "rel_2": 3} {
		r, err := w.view().Release(t.Context(), id)
		if err != nil || r.EnvVersion != want {
			t.Errorf("release %s runs with version %d, %v, want %d", id, r.EnvVersion, err, want)
		}
	}
	w.must(command.CreateDeployment{ID: "dep_back", AppID: "app_1", ReleaseID: "rel_1", Rollback: true})
	d, err := w.view().Deployment(t.Context(), "dep_back")
	if err != nil || d.EnvVersion != 2 || w.envAt(d.EnvVersion)["A"] != "old" {
		t.Errorf("going back has version %d, %v", d.EnvVersion, err)
	}
}

// deployed deploys a build of app_1 to its end, as build, release and deployment n.
func deployed(t *testing.T, w *world, n string) {
	t.Helper()
	b := newBuild(gestor.BuildID("bld_"+n), "app_1")
	id := gestor.DeploymentID("dep_" + n)
	w.must(command.CreateDeployment{ID: id, AppID: "app_1", Build: &b, NewReleaseID: gestor.ReleaseID("rel_" + n)})
	w.must(command.LeaseTask{ID: b.Task.ID, Node: "nod_1"})
	w.must(command.FinishTask{ID: b.Task.ID, Fence: w.index, Outcome: gestor.TaskSucceeded, Result: builtResult(t)})
	states := []gestor.DeploymentState{"building", "preparing", "switching", "watching", "succeeded"}
	for i := range states[1:] {
		w.must(command.AdvanceDeployment{ID: id, From: states[i], To: states[i+1]})
	}
}

func TestUpdateEnv_ForgetsOldVersionsButNotThoseOfReleases(t *testing.T) {
	w := newWorld(t)
	w.setEnv(nil, "A", "with the release", "KEPT", "k")
	deployed(t, w, "1")
	for i := range 40 {
		w.setEnv(nil, "A", fmt.Sprint("value ", i))
	}
	versions, err := w.view().EnvVersions(t.Context(), "app_1")
	if err != nil || len(versions) != gestor.KeptEnvVersions+1 {
		t.Fatalf("%d versions are kept, %v", len(versions), err)
	}
	if got := fmt.Sprint(w.envAt(2)); got != "map[A:with the release KEPT:k]" {
		t.Errorf("the release's version is %s", got)
	}
	if _, err := w.view().EnvAt(t.Context(), "app_1", 3); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("a forgotten version: %v", err)
	}
	// Besides the newest value: the release's, and one for each version that is kept but the newest.
	counted, err := w.view().EnvChanges(t.Context(), "app_1")
	if err != nil || len(counted) > gestor.KeptEnvVersions+2 {
		t.Errorf("values of %d versions are kept, %v", len(counted), err)
	}
}

// withServers has servers ctl1 and ctl2, and the key 0000000a, which seals.
func withServers(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	token := newServerToken("tok_1")
	token.Replaces = ""
	w.must(command.PutServer{Server: newServer("srv_1", "ctl1")})
	w.must(command.CreateServerToken{Token: token})
	w.must(command.EnrollServer{TokenID: "tok_1", SecretHash: secret, Server: newServer("srv_2", "ctl2")})
	w.must(command.RegisterKey{KeyID: "0000000a"})
	return w
}

func (w *world) refused(op command.Op, kind fault.Kind, words string) {
	w.t.Helper()
	if r := w.do(op); !errors.Is(r.Err, kind) || !strings.Contains(r.Err.Error(), words) {
		w.t.Errorf("%T: got %v, want %s with %q", op, r.Err, kind, words)
	}
}

func TestRotateKey_SealsOnceEveryServerHasTheKeyAndDropsTheOldOneWhenNothingNeedsIt(t *testing.T) {
	w := withServers(t)
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(0x0a, "one")}})
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(0x0a, "two")}})
	w.refused(command.DropKeys{}, fault.KindConflict, "no old key")
	w.must(command.RotateKey{KeyID: "0000000b"})
	w.refused(command.RotateKey{KeyID: "0000000c"}, fault.KindConflict, "--status")
	w.must(command.ConfirmKey{KeyID: "0000000b", Server: "srv_1"})
	w.must(command.ConfirmKey{KeyID: "0000000b", Server: "srv_2", Problem: "its disk is full"})
	w.refused(command.ActivateKey{KeyID: "0000000b"}, fault.KindConflict, "ctl2")
	w.refused(command.FinishRotation{KeyID: "0000000b"}, fault.KindConflict, "nothing is being sealed anew")
	w.must(command.ConfirmKey{KeyID: "0000000b", Server: "srv_2"})
	w.must(command.ActivateKey{KeyID: "0000000b"})

	before, err := w.view().SealedOtherwise(t.Context(), []string{"0000000b"}, state.Sealed{}, 100)
	if err != nil || len(before) != 2 {
		t.Fatalf("%d values are sealed with the old key, %v", len(before), err)
	}
	w.refused(command.Reseal{Values: []gestor.Resealed{{
		Column: before[0].Column, Key: before[0].Key, Before: hashOf(string(before[0].Value)), Sealed: sealedWith(0x0a, "again"),
	}}}, fault.KindConflict, "another key")
	for _, b := range before {
		w.must(command.Reseal{Values: []gestor.Resealed{
			{Column: b.Column, Key: b.Key, Before: hashOf("another value"), Sealed: sealedWith(0x0b, "stale")},
			{Column: b.Column, Key: b.Key, Before: hashOf(string(b.Value)), Sealed: append(sealedWith(0x0b, ""), b.Value[5:]...)},
			{Column: b.Column, Key: []string{"app_9", "A", "1"}[:len(b.Key)], Before: hashOf(""), Sealed: sealedWith(0x0b, "gone")},
		}})
	}
	if got := w.envAt(2)["A"] + w.envAt(3)["A"]; got != string(sealedWith(0x0b, "one"))+string(sealedWith(0x0b, "two")) {
		t.Errorf("got %q", got)
	}
	w.refused(command.DropKeys{}, fault.KindConflict, "--status")
	w.must(command.FinishRotation{KeyID: "0000000b"})
	w.must(command.DropKeys{})
	w.refused(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(0x0a, "late")}}, fault.KindConflict, "dropped")
	w.refused(command.RotateKey{KeyID: "0000000a"}, fault.KindExists, "known")
}

func TestDropKeys_RefusesWhileAValueIsSealedWithOne(t *testing.T) {
	w := withServers(t)
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(0x0a, "lost")}})
	w.must(command.RotateKey{KeyID: "0000000b"})
	for _, s := range []gestor.ServerID{"srv_1", "srv_2"} {
		w.must(command.ConfirmKey{KeyID: "0000000b", Server: s})
	}
	w.must(command.ActivateKey{KeyID: "0000000b"})
	w.must(command.FinishRotation{KeyID: "0000000b", Unreadable: 1})
	w.refused(command.DropKeys{}, fault.KindConflict, "1 values are still sealed with the key 0000000a")
	w.must(command.UpdateEnv{AppID: "app_1", Unset: []string{"A"}})
	w.refused(command.DropKeys{}, fault.KindConflict, "still sealed") // a version that is kept holds it
}

func TestRotateKey_AgainGivesAKeyUpThatSealsNothing(t *testing.T) {
	w := withServers(t)
	w.must(command.RotateKey{KeyID: "0000000b"})
	w.must(command.RotateKey{KeyID: "0000000c", Again: true})
	w.refused(command.ActivateKey{KeyID: "0000000b"}, fault.KindConflict, "dropped")
	for _, s := range []gestor.ServerID{"srv_1", "srv_2"} {
		w.must(command.ConfirmKey{KeyID: "0000000c", Server: s})
	}
	w.must(command.ActivateKey{KeyID: "0000000c"})
	w.refused(command.RotateKey{KeyID: "0000000d", Again: true}, fault.KindConflict, "being changed")
}
