package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

func TestNew_PicksNamespacesWithoutSystemd(t *testing.T) {
	want := Namespaces
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		want = Systemd
	}
	if h := newHost(t, ""); h.Kind() != want {
		t.Errorf("kind is %s, want %s", h.Kind(), want)
	}
}

func TestRun_ReportsOutputAndExitCode(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			h := newHost(t, kind)
			exit, out := run(t, h, step(t, `echo "I am $(id -u):$(id -g):$(id -G)"; exit 7`))
			if exit.Code != 7 || exit.Killed != "" || exit.OK() {
				t.Errorf("exit is %+v", exit)
			}
			if want := fmt.Sprintf("I am %d:%d:%d\n", testUID, testUID, testUID); out != want {
				t.Errorf("output is %q, want %q", out, want)
			}
		})
	}
}

func TestRun_RefusesHostileOrUnsafeSteps(t *testing.T) {
	h := newHost(t, Namespaces)
	for name, change := range map[string]func(*Step){
		"root":              func(s *Step) { s.UID = 0 },
		"root's group":      func(s *Step) { s.GID = 0 },
		"path as name":      func(s *Step) { s.Name = "../../etc" },
		"neither":           func(s *Step) { s.Command = "" },
		"both":              func(s *Step) { s.Argv = []string{"true"} },
		"without directory": func(s *Step) { s.Dir = "" },
	} {
		t.Run(name, func(t *testing.T) {
			s := step(t, "true")
			change(&s)
			if _, err := h.Sandbox().Run(t.Context(), s); fault.KindOf(err) != fault.KindInvalid {
				t.Errorf("got %v, want an invalid fault", err)
			}
		})
	}
}

func TestRun_SeesNoSecretAndWritesNowhereElse(t *testing.T) {
	h := newHost(t, Namespaces)
	secret := openDir(t)
	other := filepath.Join(secret, "other", ".env")
	own := filepath.Join(secret, "own")
	for _, d := range []string{filepath.Dir(other), own} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(other, []byte("SECRET"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	readOnly := openDir(t)
	if err := os.Chmod(readOnly, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command string
		want    bool
	}{
		"reads a hidden file":             {"cat " + other, false},
		"lists a hidden directory":        {"ls " + filepath.Dir(other), false},
		"writes to its own inside hidden": {"echo x > " + own + "/f", true},
		"writes to what is not its own":   {"echo x > " + readOnly + "/f", false},
		"writes to /etc":                  {"echo x > /etc/gestor-was-here", false},
		"writes to /tmp":                  {"echo x > /tmp/f && test ! -e " + readOnly, true},
		"reads /dev/null":                 {"cat /dev/null && echo x > /dev/null", true},
		"makes a device":                  {"mknod " + own + "/d b 8 0", false},
		"sees other processes":            {`test "$(ls -d /proc/[0-9]* | wc -l)" -gt 6`, false},
		"sees its init":                   {"ls -d /proc/1", false},
		"mounts":                          {"mount -t tmpfs x /mnt", false},
		"unshares":                        {"unshare -r mount -o remount,rw /", false},
		"has capabilities":                {"grep -q 'Cap[A-Z][a-z]*:.*[1-9a-f]$' /proc/self/status", false},
		"may gain privileges":             {"grep -q 'NoNewPrivs:.*0' /proc/self/status", false},
		"reaches the network of the host": {"test $(ls /sys/class/net | wc -l) -lt 0 || test $(wc -l < /proc/net/dev) -gt 3", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := step(t, c.command)
			s.Hidden = []string{secret}
			s.Writable = append(s.Writable, own)
			if strings.Contains(name, "/tmp") { // without it, the directory would show
				s.Writable, s.Dir = nil, "/"
			}
			if exit, out := run(t, h, s); exit.OK() != c.want {
				t.Errorf("done: %v, want %v (exit %+v, output %s)", exit.OK(), c.want, exit, out)
			}
		})
	}
}

func TestRun_KillsWhatUsesTooMuchMemory(t *testing.T) {
	s := step(t, `head -c 500M /dev/zero | tail`)
	s.Limits.MemoryBytes = 64 << 20
	if exit, out := run(t, newHost(t, Namespaces), s); exit.Killed != KilledMemory {
		t.Errorf("exit is %+v, output %s", exit, out)
	}
}

func TestRun_StopsAForkBomb(t *testing.T) {
	s := step(t, `f() { f | f & f | f; }; f; exit 1`)
	s.Limits = Limits{Processes: 50, Time: 3 * time.Second}
	exit, _ := run(t, newHost(t, Namespaces), s)
	if exit.OK() || exit.Killed != KilledProcesses && exit.Killed != KilledTime {
		t.Errorf("exit is %+v", exit)
	}
	eventually(t, "no process of the bomb is left", func() bool { return processesOf("f() { f | f") == 0 })
}

func TestRun_NamesTheProcessLimit(t *testing.T) {
	s := step(t, `for i in $(seq 30); do sleep 5 & done; exit 3`)
	s.Limits.Processes = 15
	if exit, out := run(t, newHost(t, Namespaces), s); exit.Killed != KilledProcesses {
		t.Errorf("exit is %+v, output %s", exit, out)
	}
}

func TestRun_RefusesAFileThatIsTooLarge(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			s := step(t, `head -c 1G /dev/zero > big`)
			s.Limits.FileSize = 1 << 20
			exit, _ := run(t, newHost(t, kind), s)
			info, err := os.Stat(filepath.Join(s.Dir, "big"))
			if exit.OK() || err != nil || info.Size() > 1<<20 {
				t.Errorf("exit is %+v, file %v, %v", exit, info, err)
			}
		})
	}
}

func TestRun_StopsWhatFillsTheDisk(t *testing.T) {
	s := step(t, `for i in $(seq 100); do head -c 4M /dev/zero > f$i; done; sleep 60`)
	s.Limits.DiskBytes = 32 << 20
	if exit, _ := run(t, newHost(t, Namespaces), s); exit.Killed != KilledDisk || exit.Duration > 20*time.Second {
		t.Errorf("exit is %+v", exit)
	}
}

func TestRun_StopsAtItsTimeLimit(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			s := step(t, `trap "" TERM INT HUP; sleep 61.5 & sleep 61.5`)
			s.Limits.Time = 300 * time.Millisecond
			exit, _ := run(t, newHost(t, kind), s)
			if exit.Killed != KilledTime || exit.Duration > 10*time.Second {
				t.Errorf("exit is %+v", exit)
			}
			if n := processesOf("sleep\x0061.5"); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

func TestRun_EndsDetachedDaemonsWithTheStep(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			mark := fmt.Sprintf("62.%d", os.Getpid())
			s := step(t, `setsid sh -c "setsid sleep `+mark+` & setsid sleep `+mark+` &" & echo up; sleep 0.3`)
			exit, out := run(t, newHost(t, kind), s)
			if !exit.OK() || !strings.Contains(out, "up") {
				t.Errorf("exit is %+v, output %s", exit, out)
			}
			if n := processesOf("sleep\x00" + mark); n != 0 {
				t.Errorf("%d daemons are left", n)
			}
		})
	}
}

func TestRun_EndsEverythingWhenCancelled(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			h := newHost(t, kind)
			s := step(t, `setsid sleep 63.25 & touch up; sleep 63.25`)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan Exit, 1)
			go func() {
				exit, err := h.Sandbox().Run(ctx, s)
				if err != nil {
					t.Error(err)
				}
				done <- exit
			}()
			eventually(t, "the step runs", func() bool {
				_, err := os.Stat(filepath.Join(s.Dir, "up"))
				return err == nil
			})
			cancel()
			if exit := <-done; exit.Killed != KilledCancelled {
				t.Errorf("exit is %+v", exit)
			}
			if n := processesOf("sleep\x0063.25"); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

// agentToBeKilled runs a step for ever.
func agentToBeKilled(dir, kind string) int {
	h, err := New(Options{Dir: filepath.Join(dir, "state"), Kind: Kind(kind), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 1
	}
	work := filepath.Join(dir, "work")
	_, _ = h.Sandbox().Run(context.Background(), Step{
		Name: "endless", Command: "setsid sleep 64.75 & touch up; sleep 64.75", Dir: work,
		Env: []string{"PATH=/usr/bin:/bin"}, UID: testUID, GID: testUID, Writable: []string{work},
	})
	return 1
}

func TestRun_LeavesNothingWhenTheAgentIsKilled(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Process} {
		t.Run(string(kind), func(t *testing.T) {
			dir := openDir(t)
			work := filepath.Join(dir, "work")
			if err := os.Mkdir(work, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(work, testUID, testUID); err != nil {
				t.Fatal(err)
			}
			agent := exec.CommandContext(t.Context(), "/proc/self/exe", "agent-to-be-killed", dir, string(kind))
			if err := agent.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the step runs", func() bool {
				_, err := os.Stat(filepath.Join(work, "up"))
				return err == nil
			})
			if err := agent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = agent.Wait()
			eventually(t, "the step is gone", func() bool { return processesOf("sleep\x0064.75") == 0 })
			newHostIn(t, filepath.Join(dir, "state"), kind) // sweeps
			left, _ := filepath.Glob("/sys/fs/cgroup/*/gestor/*/steps/endless")
			if len(left) > 0 {
				t.Errorf("cgroups are left: %s", left)
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	dir := b.TempDir()
	h, err := New(Options{Dir: dir, Kind: Namespaces, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.Close)
	for b.Loop() {
		exit, err := h.Sandbox().Run(b.Context(), Step{Name: "bench", Argv: []string{"/bin/true"}, Dir: "/", UID: testUID, GID: testUID})
		if err != nil || !exit.OK() {
			b.Fatal(exit, err)
		}
	}
}
