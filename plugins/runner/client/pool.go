package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"

	"github.com/saas-gestor/gestor/plugins/runner"
)

// DefaultIdle is how long an unused runner process stays.
const DefaultIdle = 60 * time.Second

// Options configures a Pool.
type Options struct {
	// Programs are the paths of the runners' programs by name.
	Programs map[string]string
	// Idle is how long an unused process stays; DefaultIdle if 0.
	Idle time.Duration
	// Log takes what the pool and the runners say; discarded if nil.
	Log *slog.Logger
}

// Pool keeps processes of runners. Its methods may be called concurrently.
type Pool struct {
	options Options

	mu     sync.Mutex // guards the fields below
	idle   map[key][]*worker
	busy   map[*worker]bool
	closed bool

	ending sync.WaitGroup // processes on their way out
}

type key struct {
	name string
	uid  uint32
}

// worker is a process of a runner.
type worker struct {
	key    key
	plugin *plugin.Client
	client *Client
	expiry *time.Timer
}

// Open returns a pool without processes. Close it.
func Open(o Options) *Pool {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{options: o, idle: map[key][]*worker{}, busy: map[*worker]bool{}}
}

// Names are the runners the pool knows.
func (p *Pool) Names() []string {
	names := make([]string, 0, len(p.options.Programs))
	for name := range p.options.Programs {
		names = append(names, name)
	}
	return names
}

// Use calls f with a process of the named runner that belongs to the given user and to nobody else meanwhile. A process
// that f leaves with an error is not used again.
func (p *Pool) Use(ctx context.Context, name string, uid uint32, f func(context.Context, *Client) error) error {
	w, err := p.take(key{name, uid})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, w.plugin.Kill)
	err = f(ctx, w.client)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	p.put(w, err == nil)
	return err
}

func (p *Pool) take(k key) (*worker, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("runner pool is closed")
	}
	for list := p.idle[k]; len(list) > 0; list = p.idle[k] {
		w := list[len(list)-1]
		p.idle[k] = list[:len(list)-1]
		if w.expiry.Stop() && !w.plugin.Exited() {
			p.busy[w] = true
			p.mu.Unlock()
			return w, nil
		}
	}
	p.mu.Unlock()
	return p.start(k)
}

func (p *Pool) start(k key) (*worker, error) {
	program, ok := p.options.Programs[k.name]
	if !ok {
		return nil, fmt.Errorf("there is no runner %q on this host", k.name)
	}
	w := &worker{key: k, plugin: plugin.NewClient(clientConfig(program, k.uid, p.options.Log))}
	client, err := Dispense(w.plugin)
	if err != nil {
		w.plugin.Kill()
		return nil, fmt.Errorf("runner %s: %w", k.name, err)
	}
	w.client = client
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		w.plugin.Kill()
		return nil, errors.New("runner pool is closed")
	}
	p.busy[w] = true
	return w, nil
}

func clientConfig(program string, uid uint32, log *slog.Logger) *plugin.ClientConfig {
	cmd := exec.Command(program) //nolint:forbidigo,noctx // a runner outlives the call it was started for
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "GOMAXPROCS=2"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
		Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}},
	}
	return &plugin.ClientConfig{
		HandshakeConfig:     runner.Handshake(),
		VersionedPlugins:    Plugins(),
		Cmd:                 cmd,
		SkipHostEnv:         true,
		AutoMTLS:            true, // another user of this host must not reach the socket
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCBrokerMultiplex: true, // the runner could not reach a socket of the agent's
		StartTimeout:        20 * time.Second,
		Logger:              hclog.New(&hclog.LoggerOptions{Output: &lineLog{log}, Level: hclog.Warn, DisableTime: true}),
	}
}

// lineLog turns what go-plugin and a runner's standard error say into records.
type lineLog struct{ log *slog.Logger }

func (l *lineLog) Write(b []byte) (int, error) {
	l.log.Debug("runner said", "line", string(b))
	return len(b), nil
}

// put gives a worker back, to stay idle for a while if it is in good order.
func (p *Pool) put(w *worker, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, w)
	if !good || p.closed || w.plugin.Exited() {
		p.ending.Go(w.plugin.Kill)
		return
	}
	w.expiry = time.AfterFunc(p.options.Idle, func() { p.expire(w) })
	p.idle[w.key] = append(p.idle[w.key], w)
}

func (p *Pool) expire(w *worker) {
	p.mu.Lock()
	list := p.idle[w.key]
	for i := range list {
		if list[i] == w {
			p.idle[w.key] = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	w.plugin.Kill()
}

// Close ends all processes and waits for them. Calls in progress fail.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*worker
	for _, list := range p.idle {
		for _, w := range list {
			w.expiry.Stop()
			all = append(all, w)
		}
	}
	for w := range p.busy {
		all = append(all, w)
	}
	p.idle = map[key][]*worker{}
	p.mu.Unlock()
	var wait sync.WaitGroup
	for _, w := range all {
		wait.Go(w.plugin.Kill)
	}
	wait.Wait()
	p.ending.Wait()
}
