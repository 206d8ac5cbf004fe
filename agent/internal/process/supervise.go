package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waits between a program's end and its next start.
const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

const readyFD = 3 // a supervisor writes "ok" or why not, then closes it

// supervised is what a supervisor process records, for agents to read.
type supervised struct {
	Supervisor int    `json:"supervisor"` // its pid
	Start      uint64 `json:"start"`      // its start time, so that a pid used again is not taken for it
	Boot       string `json:"boot"`
	Status     Status `json:"status"`
}

// runSupervise is a detached process that keeps one unit running until SIGTERM. args is the unit's record directory,
// and "detach" for the step between, which makes it a child of the host's init.
func runSupervise(args []string) int {
	if len(args) == 0 {
		return 2
	}
	ready := os.NewFile(readyFD, "ready")
	if len(args) == 2 && args[1] == "detach" {
		return detach(args[0], ready)
	}
	unix.CloseOnExec(readyFD)
	k, err := openKeeper(args[0])
	if err != nil {
		_, _ = fmt.Fprint(ready, err)
		return 1
	}
	if err := k.run(ready); err != nil {
		return 1
	}
	return 0
}

func detach(dir string, ready *os.File) int {
	cmd := exec.Command(ownProgram, superviseCommand, dir) //nolint:forbidigo,gosec,noctx // our own program
	cmd.Env = []string{"GOMAXPROCS=2"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprint(ready, err)
		return 1
	}
	return 0
}

// keeper keeps one unit running.
type keeper struct {
	dir    string
	rec    record
	lock   *os.File
	groups *groups
	log    *logFile
	state  supervised
	stop   chan os.Signal
}

func openKeeper(dir string) (*keeper, error) {
	k := &keeper{dir: dir, stop: make(chan os.Signal, 1)}
	signal.Notify(k.stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if err := readJSON(filepath.Join(dir, "unit.json"), &k.rec); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	k.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.New("another supervisor keeps the unit already")
	}
	if k.log, err = openLogFile(k.rec.Unit.LogFile, k.rec.Unit.GID); err != nil {
		return nil, err
	}
	k.groups = &groups{}
	if k.rec.Kind == Namespaces {
		k.groups = newGroups(k.rec.Host, 0, discardLog())
	}
	st, err := readStat(os.Getpid())
	if err != nil {
		return nil, err
	}
	k.state = supervised{Supervisor: os.Getpid(), Start: st.start, Boot: bootID()}
	k.state.Status = Status{Name: k.rec.Unit.Name, Wanted: true}
	return k, nil
}

// run starts the program again and again until told to stop.
func (k *keeper) run(ready *os.File) error {
	backoff := firstBackoff
	for {
		p, g, err := k.start()
		if ready != nil {
			k.tell(ready, err)
			ready = nil
		}
		if err != nil {
			k.state.Status.LastExit = err.Error()
		} else if stopped := k.watch(p, g); stopped {
			return k.save()
		}
		if time.Since(k.state.Status.Since) > lastBackoff {
			backoff = firstBackoff
		}
		if err := k.save(); err != nil {
			k.notef("state cannot be written: %v", err)
		}
		k.notef("ended with %s, starting again in %s", k.state.Status.LastExit, backoff)
		wait := time.NewTimer(backoff)
		select {
		case <-k.stop:
			wait.Stop()
			return k.save()
		case <-wait.C:
		}
		backoff = min(2*backoff, lastBackoff)
		k.state.Status.Restarts++
	}
}

func (k *keeper) tell(ready *os.File, err error) {
	if err == nil {
		_, _ = fmt.Fprint(ready, "ok")
	} else {
		_, _ = fmt.Fprint(ready, err)
	}
	_ = ready.Close()
}

func (k *keeper) start() (*initProcess, *group, error) {
	u := k.rec.Unit
	g, err := k.groups.make("apps/"+u.Name, u.Limits)
	if err != nil {
		return nil, nil, err
	}
	c := initConfig{
		Argv: u.argv(), Dir: u.Dir, Env: u.environment(), EnvFile: u.EnvFile, UID: u.UID, GID: u.GID,
		Namespaces: k.rec.Kind == Namespaces, Network: true,
		Writable: u.Writable, ReadOnly: u.ReadOnly, Hidden: append(append([]string{}, k.rec.Hidden...), u.Hidden...),
		FileSize: u.Limits.FileSize, Groups: g.joins(),
	}
	if g == nil {
		c.Memory, c.Processes = u.Limits.MemoryBytes, u.Limits.Processes
	}
	p, err := startInit(ownProgram, c, k.log, k.log)
	if err != nil {
		g.remove()
		return nil, nil, err
	}
	s := &k.state.Status
	s.Running, s.Pid, s.Since = true, p.pid, time.Now()
	return p, g, k.save()
}

// watch returns when the program has ended, and whether that was asked for.
func (k *keeper) watch(p *initProcess, g *group) (stopped bool) {
	defer g.remove()
	ended := make(chan initResult, 1)
	go func() { ended <- p.wait() }()
	var r initResult
	select {
	case r = <-ended:
	case <-k.stop:
		stopped = true
		r = k.end(p, ended)
	}
	s := &k.state.Status
	s.Running, s.Pid, s.LastExit = false, 0, r.String()
	if r.Error != "" {
		s.LastExit = r.Error
	} else if hit := g.hit(); hit == KilledMemory {
		s.LastExit += " (" + hit + ")"
	}
	return stopped
}

// end asks the program to end, and makes it after the grace.
func (k *keeper) end(p *initProcess, ended <-chan initResult) initResult {
	grace := k.rec.Unit.Grace
	var asked stopOrder
	if err := readJSON(filepath.Join(k.dir, "stop.json"), &asked); err == nil && asked.Grace > 0 {
		grace = asked.Grace
	}
	p.terminate()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case r := <-ended:
		return r
	case <-timer.C:
		p.kill()
		return <-ended
	}
}

// stopOrder goes with SIGTERM.
type stopOrder struct {
	Grace time.Duration `json:"grace"`
}

func (k *keeper) save() error { return writeJSON(filepath.Join(k.dir, "state.json"), k.state) }

// notef writes a line of our own into the log of the program.
func (k *keeper) notef(format string, args ...any) {
	_, _ = fmt.Fprintf(k.log, "gestor: "+format+"\n", args...)
}
