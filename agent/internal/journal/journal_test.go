package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/saas-gestor/gestor/agent/internal/journal"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func spec(id string, fence uint64, resource string) *agentv1.TaskSpec {
	return &agentv1.TaskSpec{Id: id, Fence: fence, Resource: resource, Kind: "test"}
}

func open(t *testing.T, path string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func assign(t *testing.T, j *journal.Journal, s *agentv1.TaskSpec) {
	t.Helper()
	v, err := j.Assign(s, true)
	if err != nil || v != journal.New {
		t.Fatalf("assign %s: %v, %v", s.GetId(), v, err)
	}
}

func TestJournal_SurvivesACutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	j := open(t, filepath.Join(dir, "whole"))
	assign(t, j, spec("a", 3, "app/x"))
	must(t, j.Begin("a", 3))
	must(t, j.End(&agentv1.TaskFinished{TaskId: "a", Fence: 3, Error: "no"}))
	must(t, j.Acknowledge("a", 3))
	assign(t, j, spec("b", 5, "app/x"))
	whole, err := os.ReadFile(filepath.Join(dir, "whole"))
	must(t, err)
	before := uint64(0)
	for n := range len(whole) + 1 {
		path := filepath.Join(dir, "cut")
		must(t, os.WriteFile(path, whole[:n], 0o600))
		cut, err := journal.Open(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		fence := cut.Fence("app/x")
		if fence < before {
			t.Fatalf("cut at %d: fence %d after %d", n, fence, before)
		}
		before = fence
		if _, err := cut.Assign(spec("c", 9, "app/y"), false); err != nil {
			t.Fatalf("cut at %d: not writable: %v", n, err)
		}
		must(t, cut.Close())
		again, err := journal.Open(path)
		if err != nil || again.Fence("app/y") != 9 {
			t.Fatalf("cut at %d: what was written after is lost: %v", n, err)
		}
		must(t, again.Close())
	}
	if before != 5 {
		t.Errorf("the whole journal has fence %d", before)
	}
}

func TestOpen_RefusesDamageInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	assign(t, j, spec("a", 3, "app/x"))
	assign(t, j, spec("b", 5, "app/y"))
	b, err := os.ReadFile(path)
	must(t, err)
	b[20] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	if _, err := journal.Open(path); err == nil {
		t.Error("opened a damaged journal")
	}
}

func TestAssign_JudgesByFence(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"))
	assign(t, j, spec("a", 3, "app/x"))
	if v, err := j.Assign(spec("a", 3, "app/x"), true); v != journal.Known || err != nil {
		t.Errorf("same again: %v, %v", v, err)
	}
	for _, s := range []*agentv1.TaskSpec{spec("b", 3, "app/x"), spec("b", 2, "app/x"), spec("a", 2, "app/x")} {
		if _, err := j.Assign(s, true); !errors.Is(err, journal.ErrStale) {
			t.Errorf("%v: %v", s, err)
		}
	}
	assign(t, j, spec("a", 4, "app/x"))
	must(t, j.End(&agentv1.TaskFinished{TaskId: "a", Fence: 4}))
	must(t, j.Acknowledge("a", 4))
	if v, err := j.Assign(spec("a", 4, "app/x"), true); v != journal.Forgotten || err != nil {
		t.Errorf("acknowledged again: %v, %v", v, err)
	}
}

func TestJournal_CompactsAndKeepsFences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	long := string(make([]byte, 200<<10))
	for i := uint64(1); i <= 30; i++ {
		id := fmt.Sprint("t", i)
		assign(t, j, spec(id, i, "app/x"))
		must(t, j.End(&agentv1.TaskFinished{TaskId: id, Fence: i, Error: long}))
		must(t, j.Acknowledge(id, i))
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Size() > 3<<20 {
		t.Errorf("the journal has %d bytes", info.Size())
	}
	must(t, j.Close())
	if j = open(t, path); j.Fence("app/x") != 30 || len(j.Entries()) != 0 {
		t.Errorf("after compaction: fence %d, %d entries", j.Fence("app/x"), len(j.Entries()))
	}
}
