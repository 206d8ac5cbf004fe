package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Mode says whose nginx serves.
type Mode string

// The modes.
const (
	System  Mode = "system"  // the host's
	Managed Mode = "managed" // one of our own
)

// Options say where nginx is.
type Options struct {
	Mode Mode
	// Dir keeps the generations, in mode managed all of nginx's files. Absolute; workers must be able to reach it.
	// "/etc/nginx/gestor.d" in mode system.
	Dir string
	// Main is the host's configuration, mode system only; /etc/nginx/nginx.conf if empty.
	Main string
	// Include is the file that makes the host's nginx read ours, mode system only; /etc/nginx/conf.d/gestor.conf if empty.
	Include string
	// LogDir takes the access and error logs of sites; /var/log/nginx in mode system, Dir/logs in managed if empty.
	LogDir string
	// Program is nginx; found in PATH if empty.
	Program string
	// Status is the loopback address where nginx tells its generation, mode system only; 127.0.0.1:9413 if empty. Not a
	// socket file: one that is left over would keep the host's nginx from starting.
	Status string
	// User runs the workers, mode managed only; www-data if empty.
	User string
	// Log takes what an operator must know; required.
	Log *slog.Logger
}

// Nginx serves sites. Safe for concurrent use.
type Nginx struct {
	o  Options
	mu sync.Mutex // one change at a time
}

// Open prepares the directories and, in mode managed, starts nginx if it does not run.
func Open(ctx context.Context, o Options) (*Nginx, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	n := &Nginx{o: o}
	for _, d := range n.directories() {
		if err := os.MkdirAll(d, 0o755); err != nil { // workers pass through
			return nil, fmt.Errorf("make directory for nginx: %w", err)
		}
	}
	if err := n.frame(); err != nil {
		return nil, err
	}
	if _, err := n.generation(); errors.Is(err, fs.ErrNotExist) {
		if err := n.writeGeneration(1, nil); err != nil {
			return nil, err
		}
		if err := n.point(1); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return n, n.ensureRunning(ctx)
}

// Sites returns what is served, by app.
func (n *Nginx) Sites() ([]Site, error) {
	gen, err := n.generation()
	if err != nil {
		return nil, err
	}
	var sites []Site
	b, err := os.ReadFile(filepath.Join(n.genDir(gen), "sites.json"))
	if err != nil {
		return nil, fmt.Errorf("read sites: %w", err)
	}
	if err := json.Unmarshal(b, &sites); err != nil {
		return nil, fmt.Errorf("read sites: %w", err)
	}
	return sites, nil
}

// Site returns what is served for an app.
func (n *Nginx) Site(app string) (Site, bool, error) {
	sites, err := n.Sites()
	if err != nil {
		return Site{}, false, err
	}
	for _, s := range sites {
		if s.App == app {
			return s, true, nil
		}
	}
	return Site{}, false, nil
}

// Apply serves a site, and returns when requests reach it. changed is false if it was served so already, which costs
// nothing. After an error what was served before is.
func (n *Nginx) Apply(ctx context.Context, s Site) (changed bool, err error) {
	if err := s.Check(); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	sites, err := n.Sites()
	if err != nil {
		return false, err
	}
	listened := false
	next := []Site{s}
	for _, o := range sites {
		if err := s.conflicts(o); err != nil {
			return false, err
		}
		if o.App != s.App {
			next = append(next, o)
		} else if equal(o, s) {
			return false, n.ensureRunning(ctx)
		}
		listened = listened || o.Port == s.Port
	}
	if !listened {
		if err := n.checkPort(s.Port); err != nil {
			return false, err
		}
	}
	if err := n.change(ctx, next); err != nil {
		return false, fmt.Errorf("serve app %s: %w", s.App, err)
	}
	return true, nil
}

func equal(a, b Site) bool {
	if !slices.Equal(a.Domains, b.Domains) {
		return false
	}
	a.Domains, b.Domains = nil, nil
	return reflect.DeepEqual(a, b)
}

// Remove serves an app no more. It is not an error if it was not served.
func (n *Nginx) Remove(ctx context.Context, app string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sites, err := n.Sites()
	if err != nil {
		return err
	}
	next := slices.DeleteFunc(slices.Clone(sites), func(s Site) bool { return s.App == app })
	if len(next) == len(sites) {
		return nil
	}
	if err := n.change(ctx, next); err != nil {
		return fmt.Errorf("serve app %s no more: %w", app, err)
	}
	return nil
}

// change makes a new generation live, or leaves the old one.
func (n *Nginx) change(ctx context.Context, sites []Site) error {
	if err := n.ensureRunning(ctx); err != nil {
		return err
	}
	old, err := n.generation()
	if err != nil {
		return err
	}
	next := old + 1
	if err := n.writeGeneration(next, sites); err != nil {
		return err
	}
	if err := n.test(ctx, next); err != nil {
		return errors.Join(err, os.RemoveAll(n.genDir(next)))
	}
	if err := n.point(next); err != nil {
		return err
	}
	if err := n.reload(ctx, next); err != nil {
		return errors.Join(err, n.restore(ctx, old, next))
	}
	n.clean(next)
	return nil
}

// restore goes back to the last good generation after a reload that did not come through.
func (n *Nginx) restore(ctx context.Context, old, bad uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := n.point(old); err != nil {
		return err
	}
	if err := n.reload(ctx, old); err != nil {
		return fmt.Errorf("go back to the last good configuration: %w", err)
	}
	return os.RemoveAll(n.genDir(bad))
}

// generation is the number of the live one.
func (n *Nginx) generation() (uint64, error) {
	target, err := os.Readlink(filepath.Join(n.o.Dir, "live"))
	if err != nil {
		return 0, fmt.Errorf("read live configuration: %w", err)
	}
	gen, err := strconv.ParseUint(strings.TrimPrefix(target, "gen-"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("live configuration is %q: %w", target, err)
	}
	return gen, nil
}

func (n *Nginx) genDir(gen uint64) string {
	return filepath.Join(n.o.Dir, "gen-"+strconv.FormatUint(gen, 10))
}

// writeGeneration writes all files of a generation.
func (n *Nginx) writeGeneration(gen uint64, sites []Site) error {
	dir := n.genDir(gen)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil { // holds no secret
		return fmt.Errorf("write configuration: %w", err)
	}
	frame, err := execute("frame", frameView{Generation: gen, Status: n.listen()})
	if err != nil {
		return err
	}
	slices.SortFunc(sites, func(a, b Site) int { return strings.Compare(a.App, b.App) })
	list, err := json.Marshal(sites)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	files := map[string]string{"00-gestor.conf": frame, "sites.json": string(list)}
	for _, s := range sites {
		if files[s.App+".conf"], err = renderSite(s, n.o.LogDir); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := writeSync(filepath.Join(dir, name), text); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// point makes a generation the live one for the next reload.
func (n *Nginx) point(gen uint64) error {
	live, tmp := filepath.Join(n.o.Dir, "live"), filepath.Join(n.o.Dir, ".live.next")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("swap configuration: %w", err)
	}
	if err := errors.Join(os.Symlink(filepath.Base(n.genDir(gen)), tmp), os.Rename(tmp, live)); err != nil {
		return fmt.Errorf("swap configuration: %w", err)
	}
	return nil
}

// clean removes all generations but the live one and the one before.
func (n *Nginx) clean(live uint64) {
	entries, err := os.ReadDir(n.o.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		gen, err := strconv.ParseUint(strings.TrimPrefix(e.Name(), "gen-"), 10, 64)
		if err == nil && e.IsDir() && gen+1 < live {
			_ = os.RemoveAll(n.genDir(gen))
		}
	}
}

func writeSync(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644) // holds no secret
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Sync(), f.Close())
}

// answering asks nginx which generation answers.
func (n *Nginx) answering(ctx context.Context) (uint64, error) {
	client := &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if n.o.Mode == System {
					return (&net.Dialer{}).DialContext(ctx, "tcp", n.o.Status)
				}
				return (&net.Dialer{}).DialContext(ctx, "unix", n.socket())
			},
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nginx/generation", nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, fault.Unavailable("nginx does not answer").WithCause(err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(res.Body, 64))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}
