package deploy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/agent/internal/traffic"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// Blobs fetches artifacts from the control servers.
type Blobs interface {
	// Get reads an artifact from offset on, on behalf of a task. An error is told by Read too.
	Get(ctx context.Context, taskID string, fence uint64, digest string, offset int64) (io.ReadCloser, error)
}

// Artifacts are those on this host already.
type Artifacts interface {
	Open(digest string) (io.ReadCloser, bool)
}

// Runtimes are interpreters on this host.
type Runtimes interface {
	// Ensure makes one exact version available and returns the folder of its programs.
	Ensure(ctx context.Context, name, version string, logf runtime.Logf) (binDir string, err error)
}

// Web serves apps; *traffic.Nginx does.
type Web interface {
	Apply(ctx context.Context, s traffic.Site) (changed bool, err error)
	Site(app string) (traffic.Site, bool, error)
	Remove(ctx context.Context, app string) error
	Drain(ctx context.Context, most time.Duration) (bool, error)
}

// Builds may have kept something for an app on this host, whether or not it was ever released here.
type Builds interface {
	// Forget removes it.
	Forget(appID string) error
}

// Options are what a Deployer works with; the numbers and Address may be left out.
type Options struct {
	Root       string // the deploy root, /home/deploy
	StateDir   string // keeps the ports of releases; root's alone
	HTTPPort   int    // the node's port for apps that name none; 80 if 0
	FirstPort  int    // of the range programs get their ports from; 20000 if 0
	LastPort   int    // 29999 if 0
	Address    string // the host's name or address, for people; found out if empty
	Sandbox    process.Sandbox
	Supervisor process.Supervisor
	Web        Web
	Blobs      Blobs
	Artifacts  Artifacts
	Runtimes   Runtimes
	Builds     Builds
	Log        *slog.Logger
}

// Deployer makes the executors, which share it.
type Deployer struct {
	o     Options
	ports sync.Mutex // one choice of a port at a time
}

// New checks the options.
func New(o Options) (*Deployer, error) {
	if o.Root == "" || o.StateDir == "" || o.Sandbox == nil || o.Supervisor == nil || o.Web == nil ||
		o.Blobs == nil || o.Artifacts == nil || o.Runtimes == nil ||
		o.Builds == nil || o.Log == nil {
		return nil, errors.New("deploy: an option is missing")
	}
	if o.HTTPPort == 0 {
		o.HTTPPort = 80
	}
	if o.FirstPort == 0 || o.LastPort < o.FirstPort { // below those the kernel gives to outgoing connections
		o.FirstPort, o.LastPort = 20000, 29999
	}
	if o.Address == "" {
		o.Address = ownAddress()
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, err
	}
	return &Deployer{o: o}, nil
}

// Executors carry out the kinds prepare, switch, watch, retire and remove.
func (d *Deployer) Executors() []task.Executor {
	return []task.Executor{
		executor{"prepare", d.prepare},
		executor{"switch", d.switchTo},
		executor{"watch", d.watch},
		executor{"retire", d.retire},
		executor{"remove", d.remove},
	}
}

type executor struct {
	kind string
	run  func(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error)
}

var _ task.Executor = executor{}

func (e executor) Kind() string { return e.kind }

func (e executor) Run(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	return e.run(ctx, t, out)
}

// open opens the directory of the task's app.
func (d *Deployer) open(app *agentv1.AppRef) (*release.Dir, error) {
	return release.Open(d.o.Root, appOf(app))
}

// openFenced opens it for a task that must not come after a newer one.
func (d *Deployer) openFenced(app *agentv1.AppRef, fence uint64) (*release.Dir, error) {
	dir, err := d.open(app)
	if err != nil {
		return nil, err
	}
	if err := dir.Fence(fence); err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

func appOf(app *agentv1.AppRef) release.App {
	return release.App{Slug: app.GetSlug(), UID: app.GetUid()}
}

func unitName(app *agentv1.AppRef, release string) string { return app.GetSlug() + "@" + release }

// releaseOf is the release of a unit, if the unit is the app's.
func releaseOf(app *agentv1.AppRef, unit string) (string, bool) {
	return strings.CutPrefix(unit, app.GetSlug()+"@")
}

// site is what nginx serves for a release.
func (d *Deployer) site(dir *release.Dir, app *agentv1.AppRef, r *agentv1.ReleaseSpec, s *agentv1.Serving, port int) traffic.Site {
	site := traffic.Site{App: app.GetSlug(), Domains: s.GetDomains(), Port: d.port(s), Upstream: port}
	if port == 0 {
		site.Base = dir.CurrentPath()
		site.WebRoot = strings.Trim(filepath.ToSlash(r.GetWebRoot()), "/")
		if site.WebRoot == "." {
			site.WebRoot = ""
		}
	}
	return site
}

func (d *Deployer) port(s *agentv1.Serving) int {
	if s.GetPort() != 0 {
		return int(s.GetPort())
	}
	return d.o.HTTPPort
}

// addresses tell people where the app answers.
func (d *Deployer) addresses(s *agentv1.Serving) []string {
	suffix := ""
	if p := d.port(s); p != 80 {
		suffix = ":" + strconv.Itoa(p)
	}
	var all []string
	for _, domain := range s.GetDomains() {
		all = append(all, "http://"+domain+suffix)
	}
	if len(all) == 0 {
		host := d.o.Address
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		all = []string{"http://" + host + suffix}
	}
	return all
}

// ownAddress is the address other hosts most likely reach this one by. Nothing is sent.
func ownAddress() string {
	conn, err := net.Dial("udp", "192.0.2.1:9") //nolint:noctx // no packet leaves
	if err == nil {
		defer conn.Close() //nolint:errcheck // nothing was sent
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return a.IP.String()
		}
	}
	return "127.0.0.1"
}

// extract unpacks an artifact, bounded by what the server said of it. What did not change since the live release is
// shared with that.
func extract(ctx context.Context, r io.Reader, dir *release.Dir, root *os.Root, spec *agentv1.ReleaseSpec) (archive.Summary, error) {
	limits := archive.Limits{Bytes: spec.GetUnpackedBytes() + 1, Files: spec.GetFiles()*2 + 1000}
	var live *os.Root
	if name, err := dir.Current(); err == nil && name != "" {
		if live, err = dir.OpenRelease(name); err == nil {
			defer live.Close()
		}
	}
	return archive.UnpackLike(ctx, r, root, limits, live)
}
