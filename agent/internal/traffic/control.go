package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// complete fills in what was left empty.
func (o *Options) complete() error {
	if o.Mode == System && o.Dir == "" {
		o.Dir = "/etc/nginx/gestor.d"
	}
	if o.Log == nil || !filepath.IsAbs(o.Dir) || !validPath.MatchString(o.Dir) {
		return fault.Invalid("dir", "directory %q cannot hold nginx configuration", o.Dir)
	}
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.Main, "/etc/nginx/nginx.conf")
	set(&o.Include, "/etc/nginx/conf.d/gestor.conf")
	if o.Mode == Managed {
		set(&o.LogDir, filepath.Join(o.Dir, "logs"))
		o.Main = filepath.Join(o.Dir, "nginx.conf")
		if os.Geteuid() == 0 {
			set(&o.User, "www-data")
		}
	}
	set(&o.LogDir, "/var/log/nginx")
	set(&o.Status, "127.0.0.1:9413")
	if o.Program == "" {
		p, err := exec.LookPath("nginx")
		if err != nil {
			p = "/usr/sbin/nginx"
		}
		o.Program = p
	}
	if _, err := os.Stat(o.Program); err != nil {
		return fault.Unavailable("nginx is not installed on this host").WithFix("install the package nginx").WithCause(err)
	}
	return nil
}

func (n *Nginx) directories() []string {
	return []string{n.o.Dir, n.o.LogDir, filepath.Join(n.o.Dir, "tmp")} // nginx -t wants tmp in both modes
}

// socket is where a managed nginx tells its generation. A socket's path has room for about 100 bytes.
func (n *Nginx) socket() string { return filepath.Join(n.o.Dir, "status.sock") }

func (n *Nginx) listen() string {
	if n.o.Mode == System {
		return n.o.Status
	}
	return "unix:" + n.socket()
}

// frame writes the files around the generations.
func (n *Nginx) frame() error {
	live := filepath.Join(n.o.Dir, "live")
	if n.o.Mode == System {
		return replace(n.o.Include, "# Written by gestor-agent. Changes are lost.\ninclude "+live+"/*.conf;\n")
	}
	mime, err := os.ReadFile("/etc/nginx/mime.types")
	if err != nil {
		return fmt.Errorf("read nginx's list of media types: %w", err)
	}
	if err := replace(filepath.Join(n.o.Dir, "mime.types"), string(mime)); err != nil {
		return err
	}
	text, err := execute("managed", frameView{Dir: n.o.Dir, User: n.o.User, Include: live})
	if err != nil {
		return err
	}
	return replace(n.o.Main, text)
}

func replace(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	if err := errors.Join(writeSync(path+".new", text), os.Rename(path+".new", path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// test has nginx check a generation before it is used: ours alone, in a frame of its own.
func (n *Nginx) test(ctx context.Context, gen uint64) error {
	dir := n.genDir(gen)
	text, err := execute("managed", frameView{Dir: n.o.Dir, User: n.o.User, Include: dir})
	if err != nil {
		return err
	}
	if n.o.Mode == System {
		text = strings.ReplaceAll(text, n.o.Dir+"/mime.types", "/etc/nginx/mime.types")
		text = strings.ReplaceAll(text, n.o.Dir+"/logs/", n.o.LogDir+"/")
	}
	text = strings.ReplaceAll(text, n.o.Dir+"/nginx.pid", dir+"/candidate.pid")
	candidate := filepath.Join(dir, "candidate.nginx")
	if err := writeSync(candidate, text); err != nil {
		return fmt.Errorf("write candidate configuration: %w", err)
	}
	if out, err := n.nginx(ctx, "-t", "-q", "-c", candidate); err != nil {
		return fault.Invalid("nginx", "nginx does not take the configuration: %s", complaint(out)).WithCause(err)
	}
	return nil
}

// complaint is the first line of what nginx said that matters.
func complaint(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "[emerg]") {
			_, after, _ := strings.Cut(line, "[emerg]")
			return strings.TrimSpace(after)
		}
	}
	return strings.TrimSpace(out)
}

func (n *Nginx) nginx(ctx context.Context, args ...string) (string, error) {
	if n.o.Mode == Managed {
		args = append(args, "-p", n.o.Dir, "-e", filepath.Join(n.o.Dir, "logs", "error.log"))
	}
	cmd := exec.CommandContext(ctx, n.o.Program, args...) //nolint:gosec // argv of our own values
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a managed nginx outlives the agent
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	return out.String(), err
}

// reload makes the running nginx take the live configuration, and waits until requests reach it.
func (n *Nginx) reload(ctx context.Context, gen uint64) error {
	master, err := n.master()
	if err != nil {
		return err
	}
	before := workers(master)
	if n.o.Mode == System {
		if out, err := n.nginx(ctx, "-t", "-q"); err != nil {
			e := fault.Invalid("nginx", "the host's nginx does not take the configuration: %s", complaint(out)).WithCause(err)
			if strings.Contains(out, "duplicate default server") {
				e = e.WithFix("give the app a domain, or remove the host's default site (/etc/nginx/sites-enabled/default)")
			}
			return e
		}
	}
	if err := syscall.Kill(master, syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload nginx: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errReload)
	defer cancel()
	err = poll(ctx, time.Millisecond, func() bool {
		got, err := n.answering(ctx)
		return err == nil && got == gen && retired(master, before)
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, n.lastComplaint())
	}
	return nil
}

var errReload = errors.New("nginx did not take the new configuration within 15 s")

// retired tells whether none of the workers accepts connections any more.
func retired(master int, before []worker) bool {
	now := map[int]worker{}
	for _, w := range workers(master) {
		now[w.pid] = w
	}
	for _, w := range before {
		if still, ok := now[w.pid]; ok && !still.leaving {
			return false
		}
	}
	return true
}

// Drain waits until no worker of an old configuration has a request left, at most for the given time. It returns
// whether that was so.
func (n *Nginx) Drain(ctx context.Context, most time.Duration) (bool, error) {
	master, err := n.master()
	if err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err = poll(waiting, 20*time.Millisecond, func() bool {
		for _, w := range workers(master) {
			if w.leaving {
				return false
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil, nil
}

// poll asks until the answer is yes, with growing waits up to a tenth of a second.
func poll(ctx context.Context, wait time.Duration, yes func() bool) error {
	for !yes() {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		wait = min(wait*2, 100*time.Millisecond)
	}
	return nil
}

// worker is a child of nginx's master.
type worker struct {
	pid     int
	leaving bool // ends when its last request does
}

func workers(master int) []worker {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		return nil
	}
	var all []worker
	for f := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && len(line) > 0 {
			all = append(all, worker{pid: pid, leaving: bytes.Contains(line, []byte("shutting down"))})
		}
	}
	return all
}

// master is the pid of the running nginx; not found if it does not run.
func (n *Nginx) master() (int, error) {
	path := filepath.Join(n.o.Dir, "nginx.pid")
	if n.o.Mode == System {
		path = "/run/nginx.pid"
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("find nginx: %w", err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	if pid > 0 {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte("nginx: master")) && (n.o.Mode == System || bytes.Contains(line, []byte(n.o.Main))) {
			return pid, nil
		}
	}
	return 0, fault.Unavailable("nginx does not run on this host").WithFix("start it, systemctl start nginx")
}

// ensureRunning starts a managed nginx that does not run. The host's is not ours to start.
func (n *Nginx) ensureRunning(ctx context.Context) error {
	_, err := n.master()
	if err == nil || n.o.Mode == System {
		return err
	}
	if err := os.Remove(n.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) { // nginx does not take over a socket
		return fmt.Errorf("start nginx: %w", err)
	}
	if out, err := n.nginx(ctx, "-c", n.o.Main); err != nil {
		return fault.Unavailable("nginx cannot be started: %s", complaint(out)).WithCause(err)
	}
	gen, err := n.generation()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("nginx was started and does not answer"))
	defer cancel()
	return poll(ctx, time.Millisecond, func() bool {
		got, err := n.answering(ctx)
		return err == nil && got == gen
	})
}

// Shutdown ends a managed nginx. Agents do not call it when they end: apps stay reachable without them.
func (n *Nginx) Shutdown(ctx context.Context) error {
	if n.o.Mode == System {
		return nil
	}
	master, err := n.master()
	if fault.KindOf(err) == fault.KindUnavailable {
		return nil
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(master, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end nginx: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return poll(ctx, 5*time.Millisecond, func() bool {
		_, err := n.master()
		return err != nil
	})
}

// lastComplaint is the end of nginx's error log.
func (n *Nginx) lastComplaint() string {
	b, err := os.ReadFile(filepath.Join(n.o.LogDir, "error.log"))
	if err != nil {
		return "its error log cannot be read"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, l := range lines[max(0, len(lines)-20):] {
		if strings.Contains(l, "[emerg]") {
			return complaint(l)
		}
	}
	return "see " + filepath.Join(n.o.LogDir, "error.log")
}
