package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// systemdSupervisor keeps units as services with a unit file each.
type systemdSupervisor struct {
	o       Options
	units   string // where unit files go
	records records
	mu      sync.Mutex // one Start or Stop at a time
}

var _ Supervisor = (*systemdSupervisor)(nil)

func newSystemdSupervisor(o Options) *systemdSupervisor {
	return &systemdSupervisor{o: o, units: "/etc/systemd/system", records: records{filepath.Join(o.Dir, "units")}}
}

// Start makes the unit run.
func (s *systemdSupervisor) Start(ctx context.Context, u Unit) error {
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
	rec := record{Unit: u, Kind: Systemd, Hidden: s.o.Hidden, Host: s.o.Dir}
	if err := s.records.put(rec); err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	return s.install(ctx, rec)
}

// install writes the unit file and starts the service; a service that runs from the same file is left alone.
func (s *systemdSupervisor) install(ctx context.Context, rec record) error {
	u := rec.Unit
	envFile := filepath.Join(s.records.path(u.Name), "env")
	if err := writeEnvFile(envFile, u.environment()); err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	text, err := renderUnit(rec, envFile)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	// systemd opens the log as root: it must be there, and ours, before.
	log, err := openLogFile(u.LogFile, u.GID)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	_ = log.Close()
	path := filepath.Join(s.units, unitFileName(u.Name))
	changed, err := s.place(ctx, path, text)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	verb := "start"
	if changed {
		verb = "restart"
		if _, err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	if err := checkPaths(u.Writable, u.ReadOnly); err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	_, err = systemctl(ctx, verb, unitFileName(u.Name))
	if err == nil {
		_, err = systemctl(ctx, "enable", unitFileName(u.Name))
	}
	return err
}

// place checks the text as a unit file and puts it at path, if it is new. What was there stays if the check says no.
func (s *systemdSupervisor) place(ctx context.Context, path, text string) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text {
		return false, nil
	}
	if err := verifyUnit(ctx, s.o.Dir, filepath.Base(path), text); err != nil {
		return false, err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil { //nolint:gosec // unit files hold no secret
		return false, fmt.Errorf("write unit file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return false, fmt.Errorf("write unit file: %w", err)
	}
	return true, nil
}

// verifyUnit asks systemd-analyze about a unit file before it is used.
func verifyUnit(ctx context.Context, dir, name, text string) error {
	dir, err := os.MkdirTemp(dir, "verify-")
	if err != nil {
		return fmt.Errorf("check unit file: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only a copy
	candidate := filepath.Join(dir, name)
	if err := os.WriteFile(candidate, []byte(text), 0o600); err != nil {
		return fmt.Errorf("check unit file: %w", err)
	}
	cmd := exec.CommandContext(ctx, "systemd-analyze", "verify", "--man=no", candidate) //nolint:gosec // argv, no shell
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	for line := range strings.Lines(out.String()) { // it warns of other units too, and of unknown keys with code 0
		if strings.Contains(line, name) {
			return fault.Invalid("unit", "systemd does not take unit %s: %s", name, strings.TrimSpace(line))
		}
	}
	if err != nil && out.Len() == 0 {
		return fmt.Errorf("check unit file: %w", err)
	}
	return nil
}

// Stop ends the unit and forgets it.
func (s *systemdSupervisor) Stop(ctx context.Context, name string, grace time.Duration) error {
	if err := checkName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.records.unwant(name); err != nil {
		return fmt.Errorf("stop unit %s: %w", name, err)
	}
	unit := unitFileName(name)
	path := filepath.Join(s.units, unit)
	if _, err := os.Stat(path); err == nil {
		if grace > 0 {
			if _, err := systemctl(ctx, "set-property", "--runtime", unit, fmt.Sprintf("TimeoutStopSec=%d", max(1, int(grace.Seconds())))); err != nil {
				s.o.Log.Debug("grace of unit was not set, its own is used", "unit", unit, "err", err)
			}
		}
		if _, err := systemctl(ctx, "disable", "--now", unit); err != nil {
			return fmt.Errorf("stop unit %s: %w", name, err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("stop unit %s: %w", name, err)
		}
		if _, err := systemctl(ctx, "daemon-reload"); err != nil {
			return fmt.Errorf("stop unit %s: %w", name, err)
		}
		_, _ = systemctl(ctx, "reset-failed", unit)
	}
	return s.records.forget(name)
}

// Status tells what the unit does.
func (s *systemdSupervisor) Status(ctx context.Context, name string) (Status, error) {
	wanted, err := s.records.find(name)
	if err != nil {
		return Status{}, err
	}
	shown, err := systemctl(ctx, "show", unitFileName(name),
		"--property=ActiveState,SubState,MainPID,NRestarts,Result,ExecMainCode,ExecMainStatus,ActiveEnterTimestampMonotonic")
	if err != nil {
		return Status{}, fmt.Errorf("status of unit %s: %w", name, err)
	}
	st := statusFrom(properties(shown), time.Now(), sinceBoot())
	st.Name, st.Wanted = name, wanted
	return st, nil
}

func statusFrom(p map[string]string, now time.Time, up time.Duration) Status {
	st := Status{Running: p["ActiveState"] == "active"}
	if st.Running {
		st.Pid, _ = strconv.Atoi(p["MainPID"])
	}
	st.Restarts, _ = strconv.Atoi(p["NRestarts"])
	if us, err := strconv.ParseInt(p["ActiveEnterTimestampMonotonic"], 10, 64); err == nil && us > 0 {
		st.Since = now.Add(time.Duration(us)*time.Microsecond - up)
	}
	code, _ := strconv.Atoi(p["ExecMainStatus"])
	switch p["ExecMainCode"] {
	case "1":
		st.LastExit = fmt.Sprintf("exit code %d", code)
	case "2", "3":
		st.LastExit = "signal " + signalName(code)
	}
	if p["Result"] == "oom-kill" {
		st.LastExit += " (" + KilledMemory + ")"
	}
	return st
}

// List tells about all units.
func (s *systemdSupervisor) List(ctx context.Context) ([]Status, error) {
	return s.records.list(ctx, s.Status)
}

// Restore starts what shall run and does not.
func (s *systemdSupervisor) Restore(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.records.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		rec, wanted, err := s.records.get(name)
		if err != nil || !wanted {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.install(ctx, rec))
	}
	return errors.Join(errs...)
}

// rotateLogs copies and empties logs that have grown: systemd keeps them open for appending.
func (s *systemdSupervisor) rotateLogs(context.Context) error {
	names, err := s.records.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		rec, wanted, err := s.records.get(name)
		if err != nil || !wanted {
			continue
		}
		if err := rotateByCopy(rec.Unit.LogFile); err != nil {
			s.o.Log.Warn("log was not rotated", "unit", name, "err", err)
		}
	}
	return nil
}

func rotateByCopy(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // errors of what matters are told
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < logFileBytes {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(path)
	for n := logFilesKept - 1; n >= 1; n-- {
		_ = dir.Rename(fmt.Sprintf("%s.%d", name, n), fmt.Sprintf("%s.%d", name, n+1))
	}
	_ = dir.Remove(name + ".1")
	old, err := dir.OpenFile(name+".1", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, f)
	return errors.Join(err, old.Close(), f.Truncate(0))
}
