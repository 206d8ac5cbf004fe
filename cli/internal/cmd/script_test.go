package cmd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/saas-gestor/gestor/cli/internal/clitest"
	"github.com/saas-gestor/gestor/cli/internal/cmd"
)

// TestScripts runs the scripts in testdata. Beside testscript's own commands they have:
//
//	server [state.json]   starts a server and signs in to it through the environment
//	cluster N [state.json] starts several servers of one cluster; $URL1 and so on are theirs
//	crash N, hang N, leaderless N   does that to one of them
//	gestor args… [< file] runs the real command tree in this process; "exit N gestor …" wants an exit code
//	calls                 prints the methods the server was asked, in order
//	request Method        prints the latest request of a method
//
// TTY=1 makes the standard streams terminals, SECRETS holds what is typed unseen, INTERRUPT=1 presses Ctrl-C when the
// server's watch is held.
func TestScripts(t *testing.T) {
	s := &scripts{t: t}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", "")
			env.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": s.server, "gestor": s.gestor, "exit": s.exit, "calls": s.calls, "request": s.request, "mode": s.mode,
			"cluster": s.cluster, "crash": s.member((*clitest.Server).Kill), "hang": s.member((*clitest.Server).Hang),
			"leaderless": s.member((*clitest.Server).Leaderless),
		},
	})
}

// scripts holds the servers by the name of their script; scripts run in parallel.
type scripts struct {
	t       *testing.T
	servers sync.Map
}

func (s *scripts) of(ts *testscript.TestScript) *clitest.Server {
	stored, _ := s.servers.Load(ts.Name())
	srv, ok := stored.(*clitest.Server)
	if !ok {
		ts.Fatalf("no server was started")
	}
	return srv
}

func (s *scripts) server(ts *testscript.TestScript, neg bool, args []string) {
	s.cluster(ts, neg, append([]string{"1"}, args...))
}

// member is a command that does something to one server.
func (s *scripts) member(do func(*clitest.Server, int)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		number, err := strconv.Atoi(args[0])
		ts.Check(err)
		do(s.of(ts), number)
	}
}

func (s *scripts) cluster(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[0])
	ts.Check(err)
	state := clitest.State{}
	if len(args) > 1 {
		state, err = clitest.Load([]byte(ts.ReadFile(args[1])))
		ts.Check(err)
	}
	srv := clitest.NewCluster(s.t, state, size)
	s.servers.Store(ts.Name(), srv)
	for i, url := range srv.URLs() {
		ts.Setenv("URL"+strconv.Itoa(i+1), url)
	}
	ca := ts.MkAbs("ca.pem")
	ts.Check(os.WriteFile(ca, []byte(srv.CA), 0o600))
	ts.Setenv("URL", srv.URL)
	ts.Setenv("PIN", srv.Pin)
	ts.Setenv("GESTOR_URL", strings.Join(srv.URLs(), ","))
	ts.Setenv("GESTOR_TOKEN", clitest.Token)
	ts.Setenv("GESTOR_CA_FILE", ca)
}

func (s *scripts) gestor(ts *testscript.TestScript, neg bool, args []string) {
	code := s.run(ts, args)
	if neg != (code != 0) {
		ts.Fatalf("exit code %d", code)
	}
}

func (s *scripts) exit(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := s.run(ts, args[2:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func (s *scripts) run(ts *testscript.TestScript, args []string) int {
	stdin := ""
	if n := len(args); n >= 2 && args[n-2] == "<" {
		stdin, args = ts.ReadFile(args[n-1]), args[:n-2]
	}
	tty := ts.Getenv("TTY") == "1"
	secrets := strings.Split(ts.Getenv("SECRETS"), ",")
	presses := ts.Getenv("INTERRUPT")
	return cmd.Main(context.Background(), cmd.Env{
		Stdin: strings.NewReader(stdin), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		InTerminal: tty, OutTerminal: tty, ErrTerminal: tty, Width: 100,
		Getenv: ts.Getenv, Dir: ts.MkAbs("."), Version: "1.2.3",
		Now: func() time.Time { return time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC) },
		Interrupts: func(parent context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(parent)
			if presses == "1" {
				presses = ""
				go func() {
					select {
					case <-s.of(ts).Held():
						cancel(cmd.ErrInterrupted)
					case <-ctx.Done():
					}
				}()
			}
			return ctx, func() { cancel(context.Canceled) }
		},
		ReadSecret: func(<-chan struct{}) (string, error) {
			secret := secrets[0]
			if len(secrets) > 1 {
				secrets = secrets[1:]
			}
			return secret, nil
		},
	}, args)
}

func (s *scripts) calls(ts *testscript.TestScript, _ bool, _ []string) {
	_, _ = fmt.Fprintln(ts.Stdout(), strings.Join(s.of(ts).Calls(), " "))
}

func (s *scripts) request(ts *testscript.TestScript, _ bool, args []string) {
	m := s.of(ts).Last(args[0])
	if m == nil {
		ts.Fatalf("%s was not called", args[0])
	}
	text, err := protojson.Marshal(m)
	ts.Check(err)
	_, _ = fmt.Fprintln(ts.Stdout(), strings.ReplaceAll(string(text), " ", ""))
}

// mode fails unless the file has the permissions.
func (s *scripts) mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(filepath.Clean(ts.MkAbs(args[1])))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}
