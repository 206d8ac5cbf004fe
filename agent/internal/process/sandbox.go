package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// initSandbox starts the agent's binary again as the init of each step, in namespaces or, weaker, without.
type initSandbox struct {
	self   string
	kind   Kind
	hidden []string
	groups *groups
}

var _ Sandbox = (*initSandbox)(nil)

func newInitSandbox(o Options, kind Kind) *initSandbox {
	memory := o.StepMemory
	if memory == 0 {
		memory = halfOfMemory()
	}
	return &initSandbox{self: o.Self, kind: kind, hidden: o.Hidden, groups: newGroups(o.Dir, memory, o.Log)}
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,150}$`)

func (s Step) validate() error {
	switch {
	case !validName.MatchString(s.Name):
		return fault.Invalid("name", "step name %q holds other than letters, digits, '.', '_' and '-'", s.Name)
	case (len(s.Argv) == 0) == (s.Command == ""):
		return fault.Invalid("argv", "step %s needs either a program or a command", s.Name)
	case s.UID == 0 || s.GID == 0:
		return fault.Invalid("uid", "step %s would run as root", s.Name)
	case s.Dir == "":
		return fault.Invalid("dir", "step %s has no working directory", s.Name)
	default:
		return nil
	}
}

// Run runs a step to its end.
func (b *initSandbox) Run(ctx context.Context, s Step) (Exit, error) {
	if err := s.validate(); err != nil {
		return Exit{}, err
	}
	if s.Limits.Processes == 0 {
		s.Limits.Processes = DefaultProcesses
	}
	group, err := b.groups.make("steps/"+s.Name, s.Limits)
	if err != nil {
		return Exit{}, fmt.Errorf("step %s: %w", s.Name, err)
	}
	defer group.remove()
	began := time.Now()
	p, err := startInit(b.self, b.config(s, group), s.Stdout, s.Stderr)
	if err != nil {
		return Exit{}, fmt.Errorf("step %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { enforce(ctx, s, cancel, ended, p.kill) })
	r := p.wait()
	close(ended)
	watch.Wait()
	exit := Exit{Code: r.Code, Signal: r.Signal, MaxRSS: r.MaxRSS, Duration: time.Since(began)}
	if r.Error != "" && ctx.Err() == nil && group.hit() == "" {
		return exit, fmt.Errorf("step %s: %s", s.Name, r.Error)
	}
	if !exit.OK() {
		exit.Killed = killedBy(ctx, group.hit())
	}
	return exit, nil
}

// limitError is a cause of cancellation.
type limitError string

func (e limitError) Error() string { return string(e) }

// killedBy tells why a step that ended badly did so.
func killedBy(ctx context.Context, hit string) string {
	var limit limitError
	switch {
	case hit == KilledMemory:
		return hit
	case errors.As(context.Cause(ctx), &limit):
		return string(limit)
	case ctx.Err() != nil:
		return KilledCancelled
	default:
		return hit
	}
}

// enforce ends the step when its time or its place on disk is used up, or ctx ends.
func enforce(ctx context.Context, s Step, cancel context.CancelCauseFunc, ended <-chan struct{}, kill func()) {
	var timeout, disk <-chan time.Time
	if s.Limits.Time > 0 {
		t := time.NewTimer(s.Limits.Time)
		defer t.Stop()
		timeout = t.C
	}
	diskTimer := time.NewTimer(time.Second)
	defer diskTimer.Stop()
	if s.Limits.DiskBytes > 0 {
		disk = diskTimer.C
	}
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			kill()
			return
		case <-timeout:
			cancel(limitError(KilledTime))
		case <-disk:
			began := time.Now()
			if diskUse(s.Writable, s.Limits.DiskBytes) > s.Limits.DiskBytes {
				cancel(limitError(KilledDisk))
			}
			diskTimer.Reset(max(time.Second, 10*time.Since(began))) // looking takes at most a tenth of the time
		}
	}
}

func (b *initSandbox) config(s Step, g *group) initConfig {
	c := initConfig{
		Argv: s.Argv, Dir: s.Dir, Env: s.Env, UID: s.UID, GID: s.GID,
		Namespaces: b.kind == Namespaces, Network: s.Network,
		Writable: s.Writable, ReadOnly: s.ReadOnly, Hidden: append(append([]string{}, b.hidden...), s.Hidden...),
		FileSize: s.Limits.FileSize, Groups: g.joins(),
	}
	if s.Command != "" {
		c.Argv = []string{"/bin/sh", "-c", s.Command}
	}
	if g == nil {
		c.Memory, c.Processes = s.Limits.MemoryBytes, s.Limits.Processes
	}
	return c
}

// initProcess is a running init.
type initProcess struct {
	cmd    *exec.Cmd
	config *os.File // its end ends the init
	result *os.File
	hard   bool // SIGKILL for the init is enough: the kernel ends the rest
	once   sync.Once
	pid    int
}

func startInit(self string, c initConfig, stdout, stderr io.Writer) (*initProcess, error) {
	configR, configW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer configR.Close() //nolint:errcheck // only read
	resultR, resultW, err := os.Pipe()
	if err != nil {
		_ = configW.Close()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer resultW.Close() //nolint:errcheck // the child's end
	// Not CommandContext: its kill would come before the reason is known.
	cmd := exec.Command(self, initCommand) //nolint:forbidigo,noctx // our own program
	cmd.Env = []string{"GOMAXPROCS=2", "GOGC=off"}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{configR, resultW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.Namespaces {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
		if !c.Network {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		}
	}
	if err := cmd.Start(); err != nil {
		_, _ = configW.Close(), resultR.Close()
		return nil, fmt.Errorf("start init: %w", err)
	}
	p := &initProcess{cmd: cmd, config: configW, result: resultR, hard: c.Namespaces, pid: cmd.Process.Pid}
	if err := json.NewEncoder(configW).Encode(c); err != nil {
		p.kill()
		p.wait()
		return nil, fmt.Errorf("tell init what to run: %w", err)
	}
	return p, nil
}

// kill ends the init and all below it. It may be called at any time, from any goroutine.
func (p *initProcess) kill() {
	p.once.Do(func() { _ = p.config.Close() })
	if p.hard {
		_ = p.cmd.Process.Kill()
	}
}

// terminate asks the program to end.
func (p *initProcess) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// wait returns when the init and, with namespaces, all below it are gone and their output was taken.
func (p *initProcess) wait() initResult {
	var r initResult
	decodeErr := json.NewDecoder(p.result).Decode(&r)
	waitErr := p.cmd.Wait()
	p.once.Do(func() { _ = p.config.Close() })
	_ = p.result.Close()
	if decodeErr != nil { // the init itself was killed
		r = initResult{Code: -1, Signal: "killed"}
		if waitErr == nil {
			r = initResult{Code: -1, Error: "init ended without a result"}
		}
	}
	return r
}

// probeNamespaces tells whether a step can be run in namespaces here.
func probeNamespaces(o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the agent does not run as root")
	}
	p, err := startInit(o.Self, initConfig{
		Argv: []string{"/bin/true"}, Dir: "/", UID: 65534, GID: 65534, Namespaces: true, Hidden: o.Hidden,
	}, nil, nil)
	if err != nil {
		return err
	}
	if r := p.wait(); r.Error != "" || r.Code != 0 {
		return fmt.Errorf("try a sandbox: %s (%s)", r, r.Error)
	}
	return nil
}
