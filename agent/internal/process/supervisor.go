package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// builtinSupervisor keeps units by a small detached process each, which outlives the agent.
type builtinSupervisor struct {
	o       Options
	kind    Kind
	records records
	mu      sync.Mutex // one Start or Stop at a time
}

var _ Supervisor = (*builtinSupervisor)(nil)

func newBuiltinSupervisor(o Options, kind Kind) *builtinSupervisor {
	return &builtinSupervisor{o: o, kind: kind, records: records{filepath.Join(o.Dir, "units")}}
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Start makes the unit run.
func (s *builtinSupervisor) Start(ctx context.Context, u Unit) error {
	if err := u.validate(); err != nil {
		return err
	}
	if u.Grace == 0 {
		u.Grace = defaultGrace
	}
	if u.Limits.Processes == 0 {
		u.Limits.Processes = DefaultProcesses
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	want := record{Unit: u, Kind: s.kind, Hidden: s.o.Hidden, Host: s.o.Dir}
	old, wanted, err := s.records.get(u.Name)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	if _, alive := s.alive(u.Name); alive {
		if wanted && reflect.DeepEqual(old, want) {
			return nil
		}
		if err := s.end(ctx, u.Name, 0); err != nil {
			return fmt.Errorf("restart unit %s: %w", u.Name, err)
		}
	}
	if err := s.records.put(want); err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	return s.spawn(ctx, u.Name)
}

// spawn starts the supervisor process and waits until it has started the program once.
func (s *builtinSupervisor) spawn(ctx context.Context, name string) error {
	_ = os.Remove(filepath.Join(s.records.path(name), "stop.json"))
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start unit %s: %w", name, err)
	}
	defer r.Close()                                                                             //nolint:errcheck // only read
	cmd := exec.CommandContext(ctx, s.o.Self, superviseCommand, s.records.path(name), "detach") //nolint:gosec // our own program
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Run()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("start supervisor of unit %s: %w", name, err)
	}
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("start unit %s: %w", name, err)
	}
	said, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return fmt.Errorf("start unit %s: its supervisor is silent: %w", name, err)
	}
	if string(said) != "ok" {
		return fmt.Errorf("start unit %s: %s", name, said)
	}
	return nil
}

// Stop ends the unit and forgets it.
func (s *builtinSupervisor) Stop(ctx context.Context, name string, grace time.Duration) error {
	if err := checkName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.records.unwant(name); err != nil {
		return fmt.Errorf("stop unit %s: %w", name, err)
	}
	if err := s.end(ctx, name, grace); err != nil {
		return fmt.Errorf("stop unit %s: %w", name, err)
	}
	return s.records.forget(name)
}

// end stops the supervisor process of name, if it is there, and waits for its end.
func (s *builtinSupervisor) end(ctx context.Context, name string, grace time.Duration) error {
	st, alive := s.alive(name)
	if !alive {
		return nil
	}
	fd, err := unix.PidfdOpen(st.Supervisor, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch supervisor: %w", err)
	}
	defer unix.Close(fd)                   //nolint:errcheck // nothing was written
	if _, still := s.alive(name); !still { // the pid was another process's when it was opened
		return nil
	}
	if err := writeJSON(filepath.Join(s.records.path(name), "stop.json"), stopOrder{Grace: grace}); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("signal supervisor: %w", err)
	}
	if grace == 0 {
		grace = defaultGrace
		if rec, ok, err := s.records.get(name); err == nil && ok {
			grace = rec.Unit.Grace
		}
	}
	late := time.Now().Add(grace + 5*time.Second)
	for {
		if waitPidfd(fd, 50*time.Millisecond) {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(late) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // its init sees the end of the pipe, and ends too
			waitPidfd(fd, time.Second)
			return ctx.Err()
		}
	}
}

// waitPidfd tells whether the process has ended, waiting at most d.
func waitPidfd(fd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	return err == nil && n > 0
}

// alive returns the record of the unit's supervisor process, and whether that process is there.
func (s *builtinSupervisor) alive(name string) (supervised, bool) {
	var st supervised
	if err := readJSON(filepath.Join(s.records.path(name), "state.json"), &st); err != nil {
		return st, false
	}
	if st.Boot != bootID() {
		return st, false
	}
	now, err := readStat(st.Supervisor)
	return st, err == nil && now.start == st.Start && now.state != 'Z'
}

// Status tells what the unit does.
func (s *builtinSupervisor) Status(_ context.Context, name string) (Status, error) {
	wanted, err := s.records.find(name)
	if err != nil {
		return Status{}, err
	}
	st, alive := s.alive(name)
	status := st.Status
	status.Name, status.Wanted = name, wanted
	if !alive {
		status.Running, status.Pid = false, 0
	}
	return status, nil
}

// List tells about all units.
func (s *builtinSupervisor) List(ctx context.Context) ([]Status, error) {
	return s.records.list(ctx, s.Status)
}

// Restore starts what shall run and does not. A unit that cannot be started does not keep the others down.
func (s *builtinSupervisor) Restore(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.records.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		_, wanted, err := s.records.get(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, alive := s.alive(name); alive {
			continue
		}
		if !wanted {
			errs = append(errs, s.records.forget(name)) // a Stop that was cut off
			continue
		}
		errs = append(errs, s.spawn(ctx, name))
	}
	return errors.Join(errs...)
}
