package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// systemdSandbox runs steps as transient services.
type systemdSandbox struct {
	o     Options
	agent string // the agent's own unit; empty if it has none
}

var _ Sandbox = (*systemdSandbox)(nil)

func newSystemdSandbox(o Options) *systemdSandbox {
	if o.StepMemory == 0 {
		o.StepMemory = halfOfMemory()
	}
	return &systemdSandbox{o: o, agent: ownUnit()}
}

const (
	stepSlice  = "gestor-build.slice"
	stepPrefix = "gestor-step-"
)

// sweep gives the slice of steps its ceiling and ends the steps an agent that was killed left behind.
func (b *systemdSandbox) sweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // there is no caller's yet
	defer cancel()
	if err := os.MkdirAll(filepath.Join(b.o.Dir, "steps"), 0o700); err != nil {
		return fmt.Errorf("make directory for steps: %w", err)
	}
	if _, err := systemctl(ctx, "set-property", "--runtime", stepSlice,
		"MemoryMax="+strconv.FormatUint(b.o.StepMemory, 10), "CPUWeight=20", "IOWeight=20"); err != nil {
		return fmt.Errorf("set ceiling of %s: %w", stepSlice, err)
	}
	_, _ = systemctl(ctx, "stop", stepPrefix+"*") // none is not an error worth telling
	_, _ = systemctl(ctx, "reset-failed", stepPrefix+"*")
	return nil
}

// Run runs a step to its end.
func (b *systemdSandbox) Run(ctx context.Context, s Step) (Exit, error) {
	if err := s.validate(); err != nil {
		return Exit{}, err
	}
	if s.Limits.Processes == 0 {
		s.Limits.Processes = DefaultProcesses
	}
	unit := stepPrefix + strings.ReplaceAll(s.Name, "@", "-") + ".service"
	envFile := filepath.Join(b.o.Dir, "steps", unit+".env")
	if err := writeEnvFile(envFile, s.Env); err != nil {
		return Exit{}, fmt.Errorf("step %s: %w", s.Name, err)
	}
	defer os.Remove(envFile) //nolint:errcheck // the next step of that name replaces it
	if err := checkPaths(s.Writable, s.ReadOnly); err != nil {
		return Exit{}, fmt.Errorf("step %s: %w", s.Name, err)
	}
	began := time.Now()
	args := b.arguments(s, unit, envFile)
	cmd := exec.Command("systemd-run", args...) //nolint:forbidigo,gosec,noctx // enforce ends the unit, not its client
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	if err := cmd.Start(); err != nil {
		return Exit{}, fmt.Errorf("step %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { enforce(ctx, s, cancel, ended, func() { stopUnit(unit) }) }) //nolint:contextcheck // also when ctx has ended
	err := cmd.Wait()
	close(ended)
	watch.Wait()
	exit := Exit{Duration: time.Since(began)}
	if err == nil {
		return exit, nil
	}
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return exit, fmt.Errorf("step %s: %w", s.Name, err)
	}
	return b.explain(ctx, exit, unit, cmd.ProcessState.ExitCode())
}

// explain asks systemd how a unit that did not succeed ended.
func (b *systemdSandbox) explain(ctx context.Context, exit Exit, unit string, code int) (Exit, error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	shown, err := systemctl(asking, "show", unit, "--property=Result,ExecMainCode,ExecMainStatus,LoadState")
	if err != nil {
		return exit, fmt.Errorf("ask for the end of %s: %w", unit, err)
	}
	_, _ = systemctl(asking, "reset-failed", unit)
	p := properties(shown)
	exit.Code = code
	hit := ""
	switch p["Result"] {
	case "oom-kill":
		hit = KilledMemory
	case "timeout":
		hit = KilledTime
	}
	if p["ExecMainCode"] == "2" || p["ExecMainCode"] == "3" { // CLD_KILLED, CLD_DUMPED
		n, _ := strconv.Atoi(p["ExecMainStatus"])
		exit.Code, exit.Signal = -1, signalName(n)
	}
	exit.Killed = killedBy(ctx, hit)
	return exit, nil
}

// arguments is the command line of systemd-run. Nothing newer than systemd 249.
func (b *systemdSandbox) arguments(s Step, unit, envFile string) []string {
	args := []string{
		"--wait", "--pipe", "--quiet", "--unit=" + unit, "--slice=" + stepSlice,
		"--uid=" + strconv.FormatUint(uint64(s.UID), 10), "--gid=" + strconv.FormatUint(uint64(s.GID), 10),
		"--working-directory=" + s.Dir,
	}
	set := func(p string) { args = append(args, "--property="+p) }
	for _, p := range confinement(view{Writable: s.Writable, ReadOnly: s.ReadOnly, Hidden: append(append([]string{}, b.o.Hidden...), s.Hidden...)}, s.Limits) {
		set(p)
	}
	set("EnvironmentFile=" + envFile)
	set("CPUWeight=50")
	set("IOWeight=50")
	set("StandardInput=null")
	if !s.Network {
		set("PrivateNetwork=yes")
	}
	if s.Limits.Time > 0 { // ours comes first and has a reason; this one is for when we are gone
		set(fmt.Sprintf("RuntimeMaxSec=%d", int(s.Limits.Time.Seconds())+10))
	}
	if b.agent != "" {
		set("BindsTo=" + b.agent)
	}
	argv := s.Argv
	if s.Command != "" {
		argv = []string{"/bin/sh", "-c", s.Command}
	}
	args = append(args, "--")
	for _, a := range argv {
		args = append(args, strings.ReplaceAll(a, "$", "$$")) // the service manager replaces variables in arguments
	}
	return args
}

// view is what a unit sees of the file system.
type view struct{ Writable, ReadOnly, Hidden []string }

// confinement lists the properties that steps and apps share. No MemoryDenyWriteExecute: it ends node.
// SystemCallErrorNumber is needed: without it node dies of a bad system call.
func confinement(v view, l Limits) []string {
	p := []string{
		"NoNewPrivileges=yes", "CapabilityBoundingSet=", "AmbientCapabilities=", "ProtectSystem=strict",
		"PrivateTmp=yes", "PrivateDevices=yes", "ProtectProc=invisible", "ProtectClock=yes", "ProtectHostname=yes",
		"ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes",
		"RestrictSUIDSGID=yes", "RestrictNamespaces=yes", "RestrictRealtime=yes", "LockPersonality=yes",
		"SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM",
		"LimitCORE=0", "UMask=0027", "KillMode=control-group", "OOMPolicy=kill",
		"TasksMax=" + strconv.Itoa(l.Processes),
	}
	p = append(p, v.properties()...)
	if l.MemoryBytes > 0 {
		p = append(p, "MemoryMax="+strconv.FormatUint(l.MemoryBytes, 10), "MemorySwapMax=0")
	}
	if l.CPUs > 0 {
		p = append(p, fmt.Sprintf("CPUQuota=%d%%", max(1, int(l.CPUs*100))))
	}
	if l.FileSize > 0 {
		p = append(p, "LimitFSIZE="+strconv.FormatUint(l.FileSize, 10))
	}
	return p
}

// properties hides what is hidden. A hidden path with something visible inside becomes an empty read-only directory
// into which that is bound.
func (v view) properties() []string {
	var p []string
	for _, hidden := range v.Hidden {
		if v.inside(hidden) {
			p = append(p, "TemporaryFileSystem="+hidden+":ro")
		} else {
			p = append(p, "InaccessiblePaths=-"+hidden)
		}
	}
	for _, path := range v.Writable {
		p = append(p, "BindPaths="+path, "ReadWritePaths="+path)
	}
	for _, path := range v.ReadOnly {
		p = append(p, "BindReadOnlyPaths="+path)
	}
	return p
}

func (v view) inside(hidden string) bool {
	for _, path := range append(append([]string{}, v.Writable...), v.ReadOnly...) {
		if strings.HasPrefix(path, hidden+"/") {
			return true
		}
	}
	return false
}
