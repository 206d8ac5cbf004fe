package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// deploying deploys an app again and again until it is told to stop, which it answers with how often all went well.
type deploying struct {
	w    *world
	repo stack.Repo
	app  string
	stop context.CancelFunc
	done chan error
	went chan struct{} // one for each deployment that ended well
}

func (w *world) keepDeploying(app string, r stack.Repo) *deploying {
	ctx, stop := context.WithCancel(w.t.Context())
	d := &deploying{w: w, repo: r, app: app, stop: stop, done: make(chan error, 1), went: make(chan struct{}, 1000)}
	go func() {
		var err error
		for n := 1; err == nil && ctx.Err() == nil; n++ {
			err = d.deploy(fmt.Sprintf("version %d", n))
		}
		d.done <- err
	}()
	return d
}

func (d *deploying) deploy(version string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // one that has begun is carried to its end
	defer cancel()
	if err := d.repo.Write("index.html", version); err != nil {
		return err
	}
	if _, err := d.repo.Commit(ctx, version); err != nil {
		return err
	}
	if _, err := d.w.CLI(ctx, "deploy", d.app); err != nil {
		return fmt.Errorf("deploy %s: %w", version, err)
	}
	d.went <- struct{}{}
	return nil
}

// goesOn waits for n more deployments: the one that was under way may have ended before.
func (d *deploying) goesOn(n int) {
	d.w.t.Helper()
	for range n {
		select {
		case <-d.went:
		case err := <-d.done:
			d.w.t.Fatalf("deploying ended: %v", err)
		case <-time.After(time.Minute):
			d.w.t.Fatal("no deployment has ended for a minute")
		}
	}
}

func (d *deploying) end() {
	d.w.t.Helper()
	d.stop()
	must(d.w.t, <-d.done)
}

func (w *world) rollingSite(nodes int) (url string, r stack.Repo) {
	w.t.Helper()
	r = w.repo("site", map[string]string{"index.html": "version 0"})
	url = w.create("site", r, nodes, "--watch", "0s")
	w.cli("deploy", "site")
	return url, r
}

func (w *world) noFailures(result stack.LoadResult) {
	w.t.Helper()
	if len(result.Failures) > 0 {
		w.t.Errorf("%d of %d requests failed, the first: %s", len(result.Failures), result.Total, result.Failures[0])
	}
}

// info is what the servers say of one of them.
func (w *world) info(server *stack.Server) *gestorv1.Server {
	w.t.Helper()
	all, err := w.ListServers(w.t.Context(), rpc.Options{})
	must(w.t, err)
	for _, s := range all {
		if s.GetName() == server.Host {
			return s
		}
	}
	return nil
}

// says waits until a server has ended by itself and requires its last words.
func (w *world) says(server *stack.Server, words ...string) {
	w.t.Helper()
	w.until(server.Host+" to end by itself", func() bool { return !server.Running() })
	raw, err := os.ReadFile(server.Log)
	must(w.t, err)
	for _, word := range words {
		if !strings.Contains(string(raw), word) {
			w.t.Errorf("%s said %q, want %q in it", server.Host, raw[max(0, len(raw)-1500):], word)
		}
	}
}

func (w *world) add(more ...string) *stack.Server {
	w.t.Helper()
	server, err := w.AddServer(w.t.Context(), more...)
	must(w.t, err)
	return server
}

func (w *world) voters(n int) {
	w.t.Helper()
	must(w.t, w.WaitVoters(w.t.Context(), n))
}

func TestServers_OneGrowsToThreeAndShrinksBackWhileDeploysGoOn(t *testing.T) {
	w := startWith(t, stack.Options{Network: true, Agents: 2})
	url, r := w.rollingSite(2)
	first, pid := w.Servers[0], w.Servers[0].Pid()
	w.noFailures(w.underLoad(url, func() {
		d := w.keepDeploying("site", r)
		second := w.add()
		w.until("the second to be a standby that has caught up", func() bool {
			i := w.info(second)
			return i.GetRole() == gestorv1.ServerRole_SERVER_ROLE_STANDBY && i.GetBehind() < 10 && i.GetRevision() > 0
		})
		third := w.add()
		w.voters(3)
		w.serversAgree()
		d.goesOn(2)

		w.cli("servers", "transfer-leader", second.Host)
		if leader, err := w.Leader(t.Context()); err != nil || leader != second {
			t.Errorf("%v leads, %v, want %s", leader, err, second.Host)
		}
		d.goesOn(2)

		w.cli("servers", "remove", third.Host, "--yes")
		w.says(third, "removed from the cluster")
		w.Forget(third)
		w.cli("servers", "remove", second.Host, "--yes") // which leads
		w.says(second, "removed from the cluster")
		w.Forget(second)
		w.voters(1)
		d.goesOn(2)
		d.end()
	}))
	if first.Pid() != pid {
		t.Error("the first server was started again")
	}
	must(t, w.WaitConnected(t.Context()))
	w.serversAgree()
}

func TestServers_ADeadOneIsReplacedByOneCommandAndARemovedOneSaysSo(t *testing.T) {
	w := startWith(t, stack.Options{Servers: 3})
	url, r := w.rollingSite(1)
	dead := w.Servers[2]
	w.noFailures(w.underLoad(url, func() {
		d := w.keepDeploying("site", r)
		dead.Kill()
		must(t, os.RemoveAll(dead.DataDir))
		fresh := w.add("--replace", dead.Host)
		w.until("the dead one to be gone", func() bool { return w.info(dead) == nil })
		w.Forget(dead)
		w.voters(3)
		d.goesOn(2)

		// One that was away when it was removed finds out when it comes back.
		w.Servers[1].Kill()
		w.cli("servers", "remove", w.Servers[1].Host, "--yes")
		must(t, w.Servers[1].Start())
		w.says(w.Servers[1], "removed from the cluster")
		w.Forget(w.Servers[1])
		d.goesOn(2)
		d.end()
		if fresh.Pid() == 0 {
			t.Error("the fresh server does not run")
		}
	}))
	w.serversAgree()
}

// offline runs a subcommand of gestor-server on the host of a server that is stopped.
func (w *world) offline(server *stack.Server, command string, args ...string) string {
	w.t.Helper()
	path, all := server.Offline(command, args...)
	out, err := exec.CommandContext(w.t.Context(), path, all...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("gestor-server %s: %v: %s", command, err, out)
	}
	return string(out)
}

func TestServers_OneThatIsLeftGoesOnAloneAndABackupMakesAFreshOne(t *testing.T) {
	w := startWith(t, stack.Options{Servers: 3, Agents: 2})
	url, r := w.rollingSite(2)
	survivor := w.Servers[0]
	for _, lost := range w.Others(survivor) {
		w.Forget(lost)
		must(t, os.RemoveAll(lost.DataDir))
	}
	w.refusedWithin(20*time.Second, 6, "apps", "set", "site", "--name", "nobody agrees")
	w.serves(url, "version 0")

	survivor.Stop()
	w.offline(survivor, "recover", "--yes")
	must(t, survivor.Start())
	w.voters(1)
	must(t, w.WaitConnected(t.Context()))
	w.commit(r, "index.html", "alone")
	w.cli("deploy", "site")
	w.serves(url, "alone")

	backup, keyring := filepath.Join(w.Dir, "state.backup"), filepath.Join(w.Dir, "keyring.copy")
	w.cli("servers", "backup", "--out", backup)
	raw, err := os.ReadFile(filepath.Join(survivor.DataDir, "keyring"))
	must(t, err)
	must(t, os.WriteFile(keyring, raw, 0o600))
	w.commit(r, "index.html", "not in the backup")
	w.cli("deploy", "site")

	survivor.Kill()
	must(t, os.RemoveAll(survivor.DataDir))
	w.offline(survivor, "restore", "--from", backup, "--keyring", keyring)
	must(t, survivor.Start())
	must(t, w.WaitConnected(t.Context()))
	w.serves(url, "not in the backup") // apps do not care
	w.commit(r, "index.html", "restored")
	w.cli("deploy", "site")
	w.serves(url, "restored")

	w.add()
	w.add()
	w.voters(3)
	w.serversAgree()
}

// refusedWithin requires a command to end with a code before long.
func (w *world) refusedWithin(limit time.Duration, code int, args ...string) {
	w.t.Helper()
	began := time.Now()
	w.refused(code, nil, args...)
	if took := time.Since(began); took > limit {
		w.t.Errorf("gestor %s took %v to say no, want %v at most", strings.Join(args, " "), took, limit)
	}
}
