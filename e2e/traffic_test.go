package e2e_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// traffic is what people and programs do while servers suffer, and a ledger of what they were told. Its workers:
//   - jobs are submitted, each under a request id, repeated until acknowledged;
//   - a counter is written, and read at any of the servers: a read must see what was acknowledged before it began;
//   - a site is deployed again and again with the gestor command, which must end well, while it is asked for;
//   - the log of a build that counts is followed with the gestor command.
type traffic struct {
	w       *world
	client  *rpc.Client // of all servers
	site    string      // address
	talking *talker

	stop     context.CancelFunc
	wg       sync.WaitGroup
	visits   chan stack.LoadResult
	progress atomic.Int64 // acknowledged jobs and writes

	mu       sync.Mutex
	jobs     map[string]string // acknowledged: request id → build
	deploys  int               // that ended well
	reads    int
	wrong    []string
	worst    time.Duration // longest time between two acknowledged writes
	worstWhy string        // what was being done to the servers then
	doing    string
}

// patience is how long a write may take to be acknowledged, whatever happens to a minority of the servers.
const patience = 20 * time.Second

// newTraffic makes the apps, on all nodes.
func newTraffic(w *world) *traffic {
	w.t.Helper()
	client, err := w.Client(w.t.Context(), rpc.Options{Timeout: patience})
	must(w.t, err)
	w.t.Cleanup(client.Close)
	tr := &traffic{w: w, client: client, jobs: map[string]string{}}
	w.create("jobs", w.repo("jobs", map[string]string{"index.html": "job"}), len(w.Agents), "--domain", "jobs.example",
		"--type", "static", "--output", ".", "--build-command", `echo "the job" begins; echo "the job" ends`)
	w.create("counter", w.repo("counter", map[string]string{"index.html": "0"}), 1, "--domain", "counter.example")
	tr.site = w.create("site", w.repo("site", map[string]string{"index.html": "v0"}), len(w.Agents), "--watch", "0s",
		"--pre-switch", `echo "$GESTOR_RELEASE" >> "$HOME/uploads/hooks"`)
	w.cli("deploy", "site")
	tr.deploys = 1
	tr.talking = newTalker(w)
	return tr
}

// start sets the workers going.
func (tr *traffic) start() {
	ctx, stop := context.WithCancel(tr.w.t.Context())
	tr.stop = stop
	tr.wg.Go(func() { tr.submit(ctx) })
	tr.wg.Go(func() { tr.count(ctx) })
	tr.wg.Go(func() { tr.deploy(ctx) })
	tr.visits = make(chan stack.LoadResult, 1)
	load := &stack.Load{URL: tr.site, Rate: 20, KeepAlive: true}
	go func() { tr.visits <- load.Run(ctx) }()
}

// end stops them and waits for what they have under way.
func (tr *traffic) end() {
	tr.stop()
	tr.wg.Wait()
	if r := <-tr.visits; len(r.Failures) > 0 {
		tr.complainf("%d of %d visits of the site failed, the first: %s", len(r.Failures), r.Total, r.Failures[0])
	}
}

func (tr *traffic) complainf(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.wrong = append(tr.wrong, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...)+" ("+tr.doing+")")
}

// during names what is done to the servers from now on.
func (tr *traffic) during(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.doing = what
}

// acknowledged notes how long a write took to be.
func (tr *traffic) acknowledged(since time.Time) {
	tr.progress.Add(1)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if took := time.Since(since); took > tr.worst {
		tr.worst, tr.worstWhy = took, tr.doing
	}
}

// goesOn waits until so many more writes have been acknowledged.
func (tr *traffic) goesOn(n int64) {
	tr.w.t.Helper()
	from := tr.progress.Load()
	ctx, cancel := context.WithTimeout(tr.w.t.Context(), patience)
	defer cancel()
	if err := stack.Poll(ctx, fmt.Sprintf("%d writes to be acknowledged", n), func(context.Context) (bool, error) {
		return tr.progress.Load() >= from+n, nil
	}); err != nil {
		tr.complainf("%v, %d were", err, tr.progress.Load()-from)
	}
}

// submit asks for a job twice a second.
func (tr *traffic) submit(ctx context.Context) {
	builds := gestorv1connect.NewBuildServiceClient(tr.client.HTTP, tr.client.URL, tr.client.Options()...)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		request := rand.Text()
		var build string
		err := tr.insist(func(ctx context.Context) error {
			answer, err := builds.CreateBuild(ctx, &gestorv1.CreateBuildRequest{App: "jobs", RequestId: request})
			build = answer.GetBuild().GetId()
			return err
		})
		if err != nil {
			tr.complainf("a job was not taken: %v", err)
		} else {
			tr.mu.Lock()
			tr.jobs[request] = build
			tr.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// insist repeats a write with a request id until it is acknowledged or refused for good. What is under way when the traffic
// ends is carried to its end.
func (tr *traffic) insist(write func(context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tr.w.t.Context()), patience)
	defer cancel()
	for {
		err := write(ctx)
		if err == nil {
			tr.acknowledged(began)
			return nil
		}
		if ctx.Err() != nil || !passing(err) {
			return fmt.Errorf("after %v: %w", time.Since(began).Round(time.Millisecond), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// passing reports whether an error is of a kind that the servers' failing explains.
func passing(err error) bool {
	return errors.Is(err, fault.KindUnavailable) || errors.Is(err, fault.KindTimeout) || errors.Is(err, fault.KindExhausted)
}

// count writes a counter into an app's name, and reads it back at one server after the other.
func (tr *traffic) count(ctx context.Context) {
	apps := gestorv1connect.NewAppServiceClient(tr.client.HTTP, tr.client.URL, tr.client.Options()...)
	answer, err := apps.GetApp(ctx, &gestorv1.GetAppRequest{App: "counter"})
	if err != nil {
		tr.complainf("the counter cannot be read: %v", err)
		return
	}
	settings := answer.GetApp().GetSettings()
	for n := 1; ctx.Err() == nil; n++ {
		settings.Name = fmt.Sprintf("n %d", n)
		request := rand.Text()
		if err := tr.insist(func(ctx context.Context) error {
			_, err := apps.UpdateApp(ctx, &gestorv1.UpdateAppRequest{App: "counter", Settings: settings, RequestId: request})
			return err
		}); err != nil {
			tr.complainf("count %d was not taken: %v", n, err)
			return
		}
		tr.read(ctx, n)
	}
}

// read asks one server alone. It may have no answer, but not an old one. Every answer is newer than what was acknowledged by
// another server, and nothing newer was tried.
func (tr *traffic) read(ctx context.Context, n int) {
	servers := tr.w.Servers
	client, err := tr.w.Client(ctx, rpc.Options{Timeout: time.Second}, servers[n%len(servers)])
	if err != nil {
		return // the sign-in was done before: the traffic ends
	}
	defer client.Close()
	reading, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := gestorv1connect.NewAppServiceClient(client.HTTP, client.URL, client.Options()...).
		GetApp(reading, &gestorv1.GetAppRequest{App: "counter"})
	if err != nil {
		return
	}
	if got := answer.GetApp().GetSettings().GetName(); got != fmt.Sprintf("n %d", n) {
		tr.complainf("%s reads %q after n %d was acknowledged", servers[n%len(servers)].Host, got, n)
	}
	tr.mu.Lock()
	tr.reads++
	tr.mu.Unlock()
}

// deploy brings one version after the other live, as a person does.
func (tr *traffic) deploy(ctx context.Context) {
	r := stack.Repo{Dir: filepath.Join(tr.w.Dir, "repos", "site")}
	for n := 1; ctx.Err() == nil; n++ {
		deploying, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		err := r.Write("index.html", fmt.Sprintf("v%d", n))
		if err == nil {
			_, err = r.Commit(deploying, "next")
		}
		if err == nil {
			_, err = tr.w.CLI(deploying, "deploy", "site")
		}
		cancel()
		if err != nil {
			tr.complainf("deployment %d: %v", n, err)
			return
		}
		tr.mu.Lock()
		tr.deploys++
		tr.mu.Unlock()
	}
}

// talker is a build that prints numbered lines until it is told to end, and a gestor command that follows them.
type talker struct {
	w     *world
	gate  string
	lines *os.File
	wait  func() error
}

func newTalker(w *world) *talker {
	w.t.Helper()
	t := &talker{w: w, gate: filepath.Join(w.Dir, "repos", "hush")}
	w.create("talker", w.repo("talker", map[string]string{"index.html": "x"}), 1, "--domain", "talker.example",
		"--type", "static", "--output", ".", "--build-command",
		fmt.Sprintf("i=0; until [ -e %s ]; do i=$((i+1)); echo \"line $i\"; sleep 0.05; done", t.gate))
	building := w.Command(w.t.Context(), "build", "talker") // as long as the test
	must(w.t, building.Start())
	w.until("the talking build to run", func() bool { return w.taskIn("talker", "build", "RUNNING") })
	var err error
	t.lines, err = os.Create(filepath.Join(w.Dir, "followed.txt"))
	must(w.t, err)
	w.t.Cleanup(func() { _ = t.lines.Close() })
	notices, err := os.Create(filepath.Join(w.Dir, "follower.log"))
	must(w.t, err)
	w.t.Cleanup(func() { _ = notices.Close() })
	cmd := w.Command(w.t.Context(), "logs", "talker", "--build", "1", "--follow")
	cmd.Stdout, cmd.Stderr = t.lines, notices
	must(w.t, cmd.Start())
	t.wait = func() error { return errors.Join(cmd.Wait(), building.Wait()) }
	return t
}

// end makes the build end and returns what the follower printed of its counting.
func (t *talker) end() []int {
	t.w.t.Helper()
	must(t.w.t, os.WriteFile(t.gate, nil, 0o644))
	done := make(chan error, 1)
	go func() { done <- t.wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.w.t.Errorf("following the log, or the build, ended with: %v", err)
		}
	case <-time.After(time.Minute):
		t.w.t.Fatal("the follower of the log, or the command that waits for the build, has not ended a minute after the build was told to")
	}
	raw, err := os.ReadFile(t.lines.Name())
	must(t.w.t, err)
	var counted []int
	for line := range strings.Lines(string(raw)) {
		_, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), "line ")
		if n, err := strconv.Atoi(rest); err == nil { // else the command itself, or a word of Gestor's
			counted = append(counted, n)
		}
	}
	return counted
}
