package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Options says how a Host confines programs.
type Options struct {
	// Dir keeps the records of units; 0700, root's, made if missing.
	Dir string
	// Kind forces a way; empty picks the best that works here.
	Kind Kind
	// Self is the program that is started again as init and supervisor; the running one if empty. It must call Main.
	Self string
	// Hidden are paths no program may open: the agent's data, other secrets. A usual set is added.
	Hidden []string
	// StepMemory is the ceiling of all steps together in bytes; half of the host's memory if 0.
	StepMemory uint64
	// Log takes what an operator must know; required.
	Log *slog.Logger
}

// ownProgram stays the running program also when its file was replaced by an update.
const ownProgram = "/proc/self/exe"

// Host runs programs on this host.
type Host struct {
	kind       Kind
	sandbox    Sandbox
	supervisor Supervisor
	rotate     func(ctx context.Context) error
}

// New picks the way programs are confined here and prepares it. Leftovers of steps of an agent that was killed are
// ended before it returns.
func New(o Options) (*Host, error) {
	if o.Log == nil || o.Dir == "" {
		return nil, errors.New("process: Dir and Log must be set")
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "units"), 0o700); err != nil {
		return nil, fmt.Errorf("make directory for units: %w", err)
	}
	if o.Self == "" {
		o.Self = ownProgram
	}
	o.Hidden = append(usualHidden(), o.Hidden...)
	kind := o.Kind
	if kind == "" {
		kind = pick(o)
	}
	h := &Host{kind: kind}
	switch kind {
	case Systemd:
		box := newSystemdSandbox(o)
		sup := newSystemdSupervisor(o)
		h.sandbox, h.supervisor, h.rotate = box, sup, sup.rotateLogs
		return h, box.sweep()
	case Namespaces, Process:
		box := newInitSandbox(o, kind)
		h.sandbox, h.supervisor = box, newBuiltinSupervisor(o, kind)
		return h, box.groups.sweep()
	default:
		return nil, fmt.Errorf("process: unknown kind %q", kind)
	}
}

// Kind tells how programs are confined.
func (h *Host) Kind() Kind { return h.kind }

// Sandbox runs steps.
func (h *Host) Sandbox() Sandbox { return h.sandbox }

// Supervisor keeps units.
func (h *Host) Supervisor() Supervisor { return h.supervisor }

// Run does what must be done now and then, such as rotating logs that systemd writes, until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	if h.rotate == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := h.rotate(ctx); err != nil {
				return err
			}
		}
	}
}

// usualHidden are paths that give power or secrets to whoever opens them.
func usualHidden() []string {
	return []string{
		"/root", "/etc/gestor", "/etc/gestor-agent", "/var/lib/gestor", "/var/lib/gestor-agent",
		"/run/docker.sock", "/run/containerd", "/run/podman", "/run/dbus", "/run/mysqld", "/run/postgresql",
		"/run/systemd/private", "/run/systemd/journal", "/var/lib/mysql", "/var/lib/docker", "/var/lib/postgresql",
		"/etc/ssl/private", "/etc/letsencrypt", "/etc/ssh",
	}
}

// pick tries the ways from the best to the weakest.
func pick(o Options) Kind {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return Systemd
	}
	err := probeNamespaces(o)
	if err == nil {
		return Namespaces
	}
	o.Log.Warn("namespaces cannot be used, programs run as plain process groups", "err", err)
	return Process
}

// Close removes the cgroups that hold nothing any more. What runs keeps running.
func (h *Host) Close() {
	box, ok := h.sandbox.(*initSandbox)
	if !ok {
		return
	}
	for _, root := range box.groups.roots {
		for _, part := range []string{"steps", "apps", ""} {
			_ = os.Remove(filepath.Join(root, part)) // fails as long as something is inside
		}
	}
}
