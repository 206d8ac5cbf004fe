// Package agent is the program that runs on each host: it keeps a session with the control servers and does the work
// they assign, within the policy of the host. It is a value, so that tests can start it in their own process.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/agent/internal/identity"
	"github.com/saas-gestor/gestor/agent/internal/journal"
	"github.com/saas-gestor/gestor/agent/internal/logs"
	"github.com/saas-gestor/gestor/agent/internal/metric"
	"github.com/saas-gestor/gestor/agent/internal/policy"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/session"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner/client"
	"github.com/saas-gestor/gestor/proto/fault"
)

// Config is what an agent is made of.
type Config struct {
	config.Config
	Version string
	Log     *slog.Logger
	// Executors, if not nil, take the place of the real ones.
	Executors []task.Executor
}

// Agent is one host's agent.
type Agent struct {
	config  Config
	log     *slog.Logger
	lock    *os.File
	journal *journal.Journal
	logs    *logs.Store
	keeper  *identity.Keeper
	tasks   *task.Manager
	session *session.Session
	host    *process.Host
	runners *client.Pool
	idle    chan struct{} // signalled when the last task has ended
	web     *web
}

// New opens everything an agent needs on the host; it needs no server for that. Close or Run must follow. A host that
// has not joined is an error of fault.KindNotFound.
func New(c Config) (*Agent, error) {
	a := &Agent{config: c, log: c.Log, idle: make(chan struct{}, 1)}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) open() (err error) {
	c := a.config
	law, err := policy.Load(c.PolicyFile)
	if err != nil {
		return err
	}
	if a.lock, err = lockDir(c.DataDir); err != nil {
		return err
	}
	a.keeper, err = identity.Open(identity.KeeperOptions{
		Dir: IdentityDir(c.Config), Servers: c.Servers, Version: c.Version, Log: c.Log,
	})
	if err != nil {
		return err
	}
	if a.journal, err = journal.Open(filepath.Join(c.DataDir, "journal")); err != nil {
		return err
	}
	a.logs, err = logs.OpenStore(logs.Options{Dir: filepath.Join(c.DataDir, "spool"), MaxBytes: c.LogSpool.MB << 20, Log: c.Log})
	if err != nil {
		return err
	}
	a.host, err = process.New(process.Options{
		Dir: filepath.Join(c.DataDir, "process"), Hidden: []string{c.DataDir, c.DeployRoot}, Log: c.Log,
	})
	if err != nil {
		return err
	}
	a.session = session.New(a.sessionOptions(law))
	return a.openTasks(law)
}

func (a *Agent) openTasks(law policy.Policy) error {
	all := a.config.Executors
	if all == nil {
		var err error
		if all, err = a.executors(law); err != nil {
			return err
		}
	}
	byKind := map[string]task.Executor{}
	for _, e := range all {
		byKind[e.Kind()] = e
	}
	a.tasks = task.New(task.Options{
		Executors: byKind, Journal: a.journal, Logs: a.logs, Forbidden: law.Forbidden, Version: a.config.Version, Log: a.log,
		Idle: a.rested,
	})
	a.session.Serve(a.tasks)
	return nil
}

func (a *Agent) sessionOptions(law policy.Policy) session.Options {
	c := a.config
	facts := metric.NewFacts(metric.FactsOptions{
		Version: c.Version, DeployRoot: c.DeployRoot, Supervisor: supervisorName(a.host.Kind()),
		Sandbox: string(a.host.Kind()), Forbidden: law.ForbidKinds,
	})
	sampler := metric.NewSampler(c.DeployRoot)
	return session.Options{
		Servers: a.keeper.Servers, Learn: a.keeper.Learn, Starts: a.keeper.Starts(), Client: a.keeper.Client, Logs: a.logs, Facts: facts.Get, Sample: sampler.Sample,
		AppDir: a.appDir, Version: c.Version, BootID: metric.BootID(), Log: c.Log,
	}
}

func supervisorName(kind process.Kind) string {
	if kind == process.Systemd {
		return "systemd"
	}
	return "builtin"
}

// Run is the agent until ctx ends. It is ready at once, whether or not a server can be reached: were it not, systemd
// would restart it, with its tasks, whenever the servers are away. What runs on the host when it returns keeps running.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{a.tasks.Run, a.session.Run, a.keeper.Run, a.keepHost, a.resume, a.watchdog, a.rest} {
		group.Go(func() error { return part(ctx) })
	}
	a.notify("READY=1")
	a.log.Info("agent started", "node", a.keeper.Identity().NodeName, "version", a.config.Version)
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// keepHost does not let trouble with the upkeep of apps' processes end the agent: it is tried again.
func (a *Agent) keepHost(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.host.Run(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("upkeep of processes broke off", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
	}
	return nil
}

// Connected tells whether there is a session with a server now.
func (a *Agent) Connected() bool { return a.session.Connected() }

// Close releases what New opened. It is for agents that are not run, and harmless otherwise.
func (a *Agent) Close() {
	if a.runners != nil {
		a.runners.Close()
	}
	if a.logs != nil {
		a.logs.Close()
	}
	if a.journal != nil {
		_ = a.journal.Close()
	}
	if a.lock != nil {
		_ = a.lock.Close()
	}
}

// IdentityDir is where an agent with this configuration keeps its identity.
func IdentityDir(c config.Config) identity.Dir {
	return identity.Dir(filepath.Join(c.DataDir, "identity"))
}

// lockDir makes sure that one agent uses a data directory at a time.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fault.Conflict("another agent uses %s", dir).WithFix("stop it first: systemctl stop gestor-agent")
	}
	return f, nil
}

// appDir is the folder of an app; the slug comes from the network.
func (a *Agent) appDir(slug string) (string, error) {
	if !regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(slug) {
		return "", fault.Invalid("slug", "%q is not the slug of an app", slug)
	}
	return filepath.Join(a.config.DeployRoot, slug), nil
}

// Blobs moves artifacts to and from the servers.
func (a *Agent) Blobs() session.Blobs { return a.session }
