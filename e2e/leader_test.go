package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// orchestra is a site on two nodes whose build and hooks wait for a word, so that a deployment can be held at any point. The
// hooks count themselves on the hosts.
type orchestra struct {
	*world
	repo stack.Repo
	url  string
}

func newOrchestra(w *world) *orchestra {
	w.t.Helper()
	o := &orchestra{world: w, repo: w.repo("site", map[string]string{"index.html": "v0"})}
	wait := func(file string) string { return fmt.Sprintf("until [ -e %s ]; do sleep 0.02; done", file) }
	o.url = w.create("site", o.repo, 2, "--watch", "0s", "--type", "static", "--output", ".",
		"--build-command", "echo the build begins; "+wait(o.gate("build")),
		"--pre-switch", `echo "pre $GESTOR_RELEASE" >> "$HOME/uploads/hooks"; `+wait(`"$HOME/uploads/go"`),
		"--post-switch", `echo "post $GESTOR_RELEASE" >> "$HOME/uploads/hooks"`)
	o.open("build")
	first := w.background("deploy", "site")
	o.until("the first hooks to wait", func() bool { return o.ran("pre", 1, w.Agents...) })
	o.letGo(w.Agents...)
	must(w.t, first())
	return o
}

func (o *orchestra) gate(name string) string { return filepath.Join(o.Dir, "repos", "gate-"+name) }
func (o *orchestra) open(name string)        { must(o.t, os.WriteFile(o.gate(name), nil, 0o644)) }
func (o *orchestra) shut(name string)        { must(o.t, os.Remove(o.gate(name))) }

func (o *orchestra) uploads(a *stack.Agent) string {
	return filepath.Join(a.DeployRoot, "site", "shared", "uploads")
}

// letGo lets the pre-switch hook of nodes end; hold holds the next ones.
func (o *orchestra) letGo(agents ...*stack.Agent) {
	for _, a := range agents {
		must(o.t, os.WriteFile(filepath.Join(o.uploads(a), "go"), nil, 0o644))
	}
}

func (o *orchestra) hold(agents ...*stack.Agent) {
	for _, a := range agents {
		must(o.t, os.Remove(filepath.Join(o.uploads(a), "go")))
	}
}

// hooks are what the hooks on a node have written.
func (o *orchestra) hooks(a *stack.Agent) []string {
	raw, _ := os.ReadFile(filepath.Join(o.uploads(a), "hooks"))
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// ran reports whether a kind of hook has run, or begun, n times on nodes.
func (o *orchestra) ran(kind string, n int, agents ...*stack.Agent) bool {
	for _, a := range agents {
		if count(o.hooks(a), kind) < n {
			return false
		}
	}
	return true
}

func count(lines []string, kind string) int {
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, kind+" ") {
			n++
		}
	}
	return n
}

// loseLeader kills the leader, and returns how to bring it back.
func (o *orchestra) loseLeader() (back func()) {
	o.t.Helper()
	leader, err := o.Leader(o.t.Context())
	must(o.t, err)
	leader.Kill()
	return func() {
		must(o.t, leader.Start())
		must(o.t, o.WaitServers(o.t.Context()))
	}
}

// moment is a point of a deployment at which the leader dies.
type moment struct {
	name   string
	before func(o *orchestra)          // makes the next deployment stop there
	reach  func(o *orchestra, nth int) // waits until it has
	goOn   func(o *orchestra)          // lets it go on
}

var moments = []moment{
	{
		"before a node has taken the build",
		func(o *orchestra) {
			for _, a := range o.Agents {
				a.Kill()
			}
		},
		func(o *orchestra, nth int) {
			o.until("the build to wait for a node", func() bool { return len(o.deployments("site")) == nth })
		},
		func(o *orchestra) {
			for _, a := range o.Agents {
				must(o.t, a.Start())
			}
		},
	},
	{
		"during the build",
		func(o *orchestra) { o.shut("build") },
		func(o *orchestra, _ int) {
			o.until("the build to run", func() bool { return o.taskIn("site", "build", "RUNNING") })
		},
		func(o *orchestra) { o.open("build") },
	},
	{
		"while the nodes prepare",
		func(o *orchestra) { o.hold(o.Agents...) },
		func(o *orchestra, nth int) {
			o.until("both nodes to prepare", func() bool { return o.ran("pre", nth, o.Agents...) })
		},
		func(o *orchestra) { o.letGo(o.Agents...) },
	},
	{
		"between the switches of two nodes",
		func(o *orchestra) { o.hold(o.Agents[0]) },
		func(o *orchestra, nth int) {
			one, two := o.Agents[0], o.Agents[1]
			o.until("the second node to be prepared", func() bool { return o.ran("pre", nth, one) && o.done("prepare", two, nth) })
			must(o.t, two.Signal(syscall.SIGSTOP))
			o.letGo(one)
			o.until("the first node to be switched", func() bool { return o.ran("post", nth, one) })
		},
		func(o *orchestra) { must(o.t, o.Agents[1].Signal(syscall.SIGCONT)) },
	},
	{
		"while the release is watched",
		func(o *orchestra) { o.cli("apps", "set", "site", "--watch", "4s") },
		func(o *orchestra, _ int) {
			o.until("the release to be watched", func() bool { return o.deployments("site")[0].State == "DEPLOYMENT_STATE_WATCHING" })
		},
		func(*orchestra) {},
	},
}

// done reports whether the n-th task of a kind has ended well on a node.
func (o *orchestra) done(kind string, a *stack.Agent, n int) bool {
	ended := 0
	for _, t := range o.tasks("site") {
		if t.Kind == kind && t.Node == a.Node && t.State == "TASK_STATE_SUCCEEDED" {
			ended++
		}
	}
	return ended >= n
}

// Wherever the leader dies, the command that deploys ends well by itself, the site is served all the time, there is exactly
// one release, and each hook has run once on each node.
func TestServers_DeploymentEndsWellThoughTheLeaderIsKilled(t *testing.T) {
	o := newOrchestra(startWith(t, stack.Options{Servers: 3, Agents: 2}))
	for i, m := range moments {
		if !t.Run(m.name, func(t *testing.T) {
			sub := &orchestra{world: &world{Stack: o.Stack, t: t}, repo: o.repo, url: o.url}
			sub.loseLeaderAt(m, i+2)
		}) {
			return // the next moment is not reached from here
		}
	}
}

func (o *orchestra) loseLeaderAt(m moment, nth int) {
	version := fmt.Sprintf("v%d", nth-1)
	o.commit(o.repo, "index.html", version)
	hooks := len(o.hooks(o.Agents[0]))
	m.before(o)
	result := o.underLoad(o.url, func() {
		done := o.background("deploy", "site")
		m.reach(o, nth)
		back := o.loseLeader()
		m.goOn(o)
		must(o.t, done())
		back()
	})
	if len(result.Failures) > 0 {
		o.t.Errorf("%d of %d requests failed, the first: %s", len(result.Failures), result.Total, result.Failures[0])
	}
	for _, a := range o.Agents {
		o.serves(addressOf(a), version)
		if after := o.hooks(a); len(after) != hooks+2 || after[hooks] != strings.Replace(after[hooks+1], "post", "pre", 1) {
			o.t.Errorf("the hooks on %s were %v, want one of each kind", a.Node, after[min(hooks, len(after)):])
		}
	}
	if n := len(o.deployments("site")); n != nth {
		o.t.Errorf("%d deployments, want %d", n, nth)
	}
	if n := o.releases("site"); n != nth {
		o.t.Errorf("%d releases, want %d", n, nth)
	}
}

func (o *orchestra) releases(app string) int {
	o.t.Helper()
	return len(query[struct {
		Releases []struct{} `json:"releases"`
	}](o.world, "releases", "list", app).Releases)
}
