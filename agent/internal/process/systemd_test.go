package process

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

func systemdRecord(t *testing.T) (record, string) {
	t.Helper()
	dir := openDir(t)
	env := filepath.Join(dir, "env")
	if err := writeEnvFile(env, []string{"PORT=4711"}); err != nil {
		t.Fatal(err)
	}
	return record{Kind: Systemd, Hidden: []string{"/home", "/root"}, Unit: Unit{
		Name: "shop@20261123-1", Command: `echo "100% $HOME" \o/`, Dir: "/usr", UID: testUID, GID: testUID,
		ReadOnly: []string{"/home/deploy/shop"}, Writable: []string{"/home/deploy/shop/shared/uploads"},
		EnvFile: filepath.Join(dir, ".env"), LogFile: filepath.Join(dir, "app.log"), Grace: 10 * time.Second,
		Limits: Limits{MemoryBytes: 1 << 28, CPUs: 1.5, Processes: 100},
	}}, env
}

func TestRenderUnit_IsTakenBySystemd(t *testing.T) {
	rec, env := systemdRecord(t)
	text, err := renderUnit(rec, env)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`ExecStart="/bin/sh" "-c" "echo \"100%% $$HOME\" \\o/"`, "NoNewPrivileges=yes", "MemoryMax=268435456", "CPUQuota=150%",
		"TemporaryFileSystem=/home:ro", "BindReadOnlyPaths=/home/deploy/shop", "InaccessiblePaths=-/root", "Restart=always",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\nEnvironment=") || strings.Contains(text, "MemoryDenyWriteExecute") {
		t.Error("the unit holds what it must not")
	}
	if err := verifyUnit(t.Context(), t.TempDir(), unitFileName(rec.Unit.Name), text); err != nil {
		t.Error(err)
	}
}

func TestVerifyUnit_RefusesWhatSystemdDoesNotKnow(t *testing.T) {
	err := verifyUnit(t.Context(), t.TempDir(), "gestor-app-x.service", "[Service]\nExecStart=/nowhere/program\n")
	if fault.KindOf(err) != fault.KindInvalid {
		t.Errorf("got %v", err)
	}
}

func TestRenderUnit_RefusesWhatCouldBeMoreThanAValue(t *testing.T) {
	for name, change := range map[string]func(*Unit){
		"line in directory":    func(u *Unit) { u.Dir = "/a\nExecStartPre=/bin/evil" },
		"space in path":        func(u *Unit) { u.Writable = []string{"/a b"} },
		"colon in bind":        func(u *Unit) { u.ReadOnly = []string{"/a:/etc"} },
		"specifier in log":     func(u *Unit) { u.LogFile = "/%h/x" },
		"control in a command": func(u *Unit) { u.Command = "echo \x1b[0m" },
	} {
		t.Run(name, func(t *testing.T) {
			rec, env := systemdRecord(t)
			change(&rec.Unit)
			if _, err := renderUnit(rec, env); fault.KindOf(err) != fault.KindInvalid {
				t.Errorf("got %v, want invalid", err)
			}
		})
	}
}

func TestArguments_KeepSecretsOutAndTheUserIn(t *testing.T) {
	b := &systemdSandbox{o: Options{Hidden: []string{"/root"}}, agent: "gestor-agent.service"}
	s := step(t, "echo $HOME; exit 1")
	s.Env = append(s.Env, "TOKEN=secret")
	s.Limits = Limits{Time: time.Minute, Processes: 5, MemoryBytes: 1 << 20}
	args := b.arguments(s, "gestor-step-x.service", "/run/x.env")
	if strings.Contains(strings.Join(args, " "), "secret") {
		t.Error("a secret is on the command line")
	}
	for _, want := range []string{
		"--uid=61999", "--slice=gestor-build.slice", "--property=PrivateNetwork=yes", "--property=BindsTo=gestor-agent.service",
		"--property=EnvironmentFile=/run/x.env", "--property=RuntimeMaxSec=70", "--property=ReadWritePaths=" + s.Dir,
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if tail := args[len(args)-4:]; !slices.Equal(tail, []string{"--", "/bin/sh", "-c", "echo $$HOME; exit 1"}) {
		t.Errorf("command is %q", tail)
	}
}

func TestReadEnvFile_ReadsBackWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	want := []string{"A=x \"y\" $z `w` \\n", "B=two\nlines", "C="}
	if err := writeEnvFile(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readEnvFile(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte("# c\n\nA='it $x\nz'\nB=bare\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readEnvFile(path); err != nil || !slices.Equal(got, []string{"A=it $x\nz", "B=bare"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStatusFrom_CopesWithWhatOldKernelsDoNotTell(t *testing.T) {
	st := statusFrom(properties("ActiveState=activating\nMainPID=0\nNRestarts=3\nResult=signal\nExecMainCode=2\nExecMainStatus=9\nX=[not set]\n"), time.Now(), time.Hour)
	if st.Running || st.Restarts != 3 || st.LastExit != "signal killed" {
		t.Errorf("status is %+v", st)
	}
}
