package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// runInit is the first process of a sandbox: it confines itself, starts the program, reaps what is orphaned, and ends
// with the program. Where it is PID 1 of a namespace the kernel then ends all the rest.
func runInit() int {
	runtime.LockOSThread() // no_new_privs and the bounding set belong to a thread
	result := os.NewFile(resultFD, "result")
	config := os.NewFile(configFD, "config")
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(resultFD)
	var c initConfig
	dec := json.NewDecoder(config)
	if err := dec.Decode(&c); err != nil {
		return 1 // the agent is gone
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	pid, err := confineAndStart(c)
	if err != nil {
		initResult{Error: err.Error(), Code: -1}.write(result)
		return 1
	}
	go func() { // ends with the process
		for range stop {
			_ = unix.Kill(-pid, unix.SIGTERM)
		}
	}()
	go func() {
		_, _ = io.Copy(io.Discard, io.MultiReader(dec.Buffered(), config))
		end(c)
		os.Exit(1) // the agent is gone, or wants it to end
	}()
	r := reap(pid)
	end(c)
	r.write(result)
	return 0
}

// end kills what is left where no namespace does it.
func end(c initConfig) {
	if !c.Namespaces {
		killDescendants(os.Getpid())
	}
}

func confineAndStart(c initConfig) (pid int, err error) {
	for _, g := range c.Groups {
		if err := os.WriteFile(g, []byte("0"), 0); err != nil {
			return 0, fmt.Errorf("join cgroup: %w", err)
		}
	}
	if c.EnvFile != "" {
		extra, err := readEnvFile(c.EnvFile)
		if err != nil {
			return 0, err
		}
		c.Env = mergeEnv(extra, c.Env)
	}
	if c.Namespaces {
		if err := enterView(c); err != nil {
			return 0, err
		}
	} else if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become subreaper: %w", err)
	}
	if err := setLimits(c); err != nil {
		return 0, err
	}
	if err := dropPrivileges(); err != nil {
		return 0, err
	}
	return start(c)
}

func start(c initConfig) (int, error) {
	program, err := lookPath(c.Argv[0], c.Env)
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if os.Geteuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID}
	}
	pid, err := syscall.ForkExec(program, c.Argv, attr) //nolint:gosec // running it is what an init is for
	if err != nil {
		return 0, fmt.Errorf("start %s in %s: %w", program, c.Dir, err)
	}
	return pid, nil
}

// reap waits for pid and for every orphan that ends before it.
func reap(pid int) initResult {
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		got, err := unix.Wait4(-1, &status, 0, &usage)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return initResult{Error: fmt.Sprintf("wait for program: %v", err), Code: -1}
		}
		if got != pid || (!status.Exited() && !status.Signaled()) {
			continue
		}
		r := initResult{Code: status.ExitStatus(), MaxRSS: uint64(usage.Maxrss) * 1024}
		if status.Signaled() {
			r.Signal = status.Signal().String()
		}
		return r
	}
}

// setLimits sets the limits a process has of its own. They may only be lowered, so a hard limit below ours stays.
func setLimits(c initConfig) error {
	if err := lower(unix.RLIMIT_CORE, 0); err != nil {
		return err
	}
	if err := lower(unix.RLIMIT_NOFILE, 65536); err != nil {
		return err
	}
	if c.FileSize > 0 {
		if err := lower(unix.RLIMIT_FSIZE, c.FileSize); err != nil {
			return err
		}
	}
	if c.Memory > 0 {
		if err := lower(unix.RLIMIT_DATA, c.Memory); err != nil {
			return err
		}
	}
	if c.Processes > 0 {
		return lower(unix.RLIMIT_NPROC, uint64(c.Processes))
	}
	return nil
}

func lower(resource int, value uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(resource, &r); err != nil {
		return fmt.Errorf("read resource limit %d: %w", resource, err)
	}
	value = min(value, r.Max)
	// syscall, not unix: it also keeps the runtime from restoring RLIMIT_NOFILE for the child.
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("set resource limit %d: %w", resource, err)
	}
	return nil
}

// dropPrivileges makes sure that what this thread starts can never gain a privilege. The capabilities held now go when
// the child changes its user.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	for capability := uintptr(0); capability <= 63; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // past the last one this kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return nil
}

// lookPath finds the program in the PATH the program itself will have.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %q is not in %s", name, path)
}
