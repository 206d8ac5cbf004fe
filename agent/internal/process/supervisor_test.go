package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

func unit(t *testing.T, name, command string) Unit {
	t.Helper()
	dir := workDir(t)
	return Unit{
		Name: name, Command: command, Dir: dir, UID: testUID, GID: testUID, Writable: []string{dir},
		LogFile: filepath.Join(openDir(t), "app.log"), Grace: time.Second,
	}
}

func startUnit(t *testing.T, h *Host, u Unit) {
	t.Helper()
	t.Cleanup(func() {
		if err := h.Supervisor().Stop(t.Context(), u.Name, time.Millisecond); err != nil && t.Context().Err() == nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := h.Supervisor().Start(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, h *Host, name string) Status {
	t.Helper()
	st, err := h.Supervisor().Status(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStart_IsIdempotentAndAdoptedByAnotherAgent(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			dir := openDir(t)
			h := newHostIn(t, dir, kind)
			u := unit(t, "shop@r1", `echo "port $PORT secret $SECRET"; exec sleep 71.5`)
			u.Env = map[string]string{"PORT": "4711"}
			u.EnvFile = filepath.Join(openDir(t), ".env")
			if err := os.WriteFile(u.EnvFile, []byte("SECRET=\"a \\\"b\\\" \\$c\nd\"\nPORT=1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			startUnit(t, h, u)
			first := status(t, h, u.Name)
			if !first.Running || !first.Wanted || first.Pid == 0 {
				t.Fatalf("status is %+v", first)
			}
			startUnit(t, h, u)
			again := newHostIn(t, dir, kind)
			if err := again.Supervisor().Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := status(t, again, u.Name); st.Pid != first.Pid || st.Restarts != 0 {
				t.Errorf("it was started again: %+v, then %+v", first, st)
			}
			eventually(t, "the log holds the output", func() bool {
				return strings.Join(TailLog(u.LogFile, 5), "\n") == "port 4711 secret a \"b\" $c\nd"
			})
		})
	}
}

func TestSupervisor_StartsAgainWhatDied(t *testing.T) {
	h := newHost(t, Namespaces)
	u := unit(t, "shop@r2", `echo run >> runs; test $(wc -l < runs) -gt 1 || exit 3; exec sleep 72.5`)
	startUnit(t, h, u)
	eventually(t, "it was started again", func() bool {
		st := status(t, h, u.Name)
		return st.Running && st.Restarts == 1 && st.LastExit == "exit code 3"
	})
}

func TestStop_KillsAfterTheGraceAndForgets(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			h := newHost(t, kind)
			u := unit(t, "shop@r3", `trap "echo asked" TERM; setsid sleep 73.5 & touch up; while :; do sleep 0.05; done`)
			startUnit(t, h, u)
			eventually(t, "the program runs", func() bool {
				_, err := os.Stat(filepath.Join(u.Dir, "up"))
				return err == nil
			})
			began := time.Now()
			if err := h.Supervisor().Stop(t.Context(), u.Name, 300*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < 300*time.Millisecond {
				t.Errorf("it was killed after %s, before its grace was over", took)
			}
			if n := processesOf("sleep\x0073.5"); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			if _, err := h.Supervisor().Status(t.Context(), u.Name); fault.KindOf(err) != fault.KindNotFound {
				t.Errorf("status says %v", err)
			}
			if got := strings.Join(TailLog(u.LogFile, 3), "\n"); !strings.Contains(got, "asked") {
				t.Errorf("it was not asked to end: %q", got)
			}
		})
	}
}

func TestRestore_StartsUnitsWhoseSupervisorIsGone(t *testing.T) {
	dir := openDir(t)
	h := newHostIn(t, dir, Namespaces)
	u := unit(t, "shop@r4", `exec sleep 74.5`)
	startUnit(t, h, u)
	var before supervised
	path := filepath.Join(dir, "units", u.Name, "state.json")
	eventually(t, "the program runs", func() bool { return processesOf("sleep\x0074.5") == 1 })
	if err := readJSON(path, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program ended with its supervisor", func() bool { return processesOf("sleep\x0074.5") == 0 })
	eventually(t, "nobody keeps it", func() bool { return !status(t, h, u.Name).Running })
	if st := status(t, h, u.Name); !st.Wanted {
		t.Errorf("status is %+v", st)
	}
	if err := newHostIn(t, dir, Namespaces).Supervisor().Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := status(t, h, u.Name); !st.Running {
		t.Errorf("status is %+v", st)
	}
}

func TestAlive_DoesNotTakeARecordFromBeforeARebootForALife(t *testing.T) {
	dir := openDir(t)
	h := newHostIn(t, dir, Namespaces)
	u := unit(t, "shop@r5", `exec sleep 75.5`)
	startUnit(t, h, u)
	path := filepath.Join(dir, "units", u.Name, "state.json")
	var st supervised
	if err := readJSON(path, &st); err != nil {
		t.Fatal(err)
	}
	good := st
	st.Boot = "another"
	if err := writeJSON(path, st); err != nil {
		t.Fatal(err)
	}
	if status(t, h, u.Name).Running {
		t.Error("a record of another boot counts as running")
	}
	if err := writeJSON(path, good); err != nil {
		t.Fatal(err)
	}
}

func TestStart_TellsWhyAProgramCannotBeStarted(t *testing.T) {
	h := newHost(t, Namespaces)
	u := unit(t, "shop@r6", "")
	u.Argv = []string{"/nowhere/node"}
	startUnit(t, h, u)
	eventually(t, "the reason is told", func() bool { return strings.Contains(status(t, h, u.Name).LastExit, "/nowhere/node") })
}

func TestLogFile_RotatesAndFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "app.log")
	if err := os.Symlink("victim", path); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(path, testUID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.max = 100
	for i := range 100 {
		_, _ = fmt.Fprintf(l, "line %03d of the log\n", i)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 1+logFilesKept+1 { // the link that was put aside
		t.Errorf("files are %s", files)
	}
	if b, _ := os.ReadFile(victim); string(b) != "safe" {
		t.Errorf("the link was followed: %q", b)
	}
	if got := TailLog(path, 1); len(got) != 1 || got[0] != "line 099 of the log" {
		t.Errorf("tail is %q", got)
	}
}
