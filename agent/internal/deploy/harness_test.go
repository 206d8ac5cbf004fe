package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/agent/internal/traffic"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestMain(m *testing.M) {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// host is a whole host: its own nginx, sandbox, supervisor and one app.
type host struct {
	t         *testing.T
	d         *Deployer
	o         Options
	web       *traffic.Nginx
	app       *agentv1.AppRef
	serving   *agentv1.Serving
	artifacts map[string][]byte
	fence     uint64
	said      *sink
	builds    builds
}

const testUID = 61990

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "gd") //nolint:usetesting // short: a socket's path is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	web, err := traffic.Open(t.Context(), traffic.Options{Mode: traffic.Managed, Dir: filepath.Join(dir, "nginx"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := web.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	processes, err := process.New(process.Options{Dir: filepath.Join(dir, "process"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(processes.Close)
	h := &host{t: t, web: web, artifacts: map[string][]byte{}, said: &sink{t: t}}
	h.app = &agentv1.AppRef{Id: "app_1", Slug: "gestor-test", Uid: testUID}
	h.serving = &agentv1.Serving{Port: int32(freePort(t)), HealthTimeout: durationpb.New(10 * time.Second), Drain: durationpb.New(5 * time.Second)}
	h.o = Options{
		Root: filepath.Join(dir, "apps"), StateDir: filepath.Join(dir, "state"), Address: "127.0.0.1",
		Sandbox: processes.Sandbox(), Supervisor: processes.Supervisor(), Web: web, Log: log,
		Blobs: blobs{h}, Artifacts: noArtifacts{}, Runtimes: noRuntimes{}, Builds: &h.builds,
	}
	if h.d, err = New(h.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.tidy)
	return h
}

// tidy removes what the host has outside its directory.
func (h *host) tidy() {
	ctx := context.Background()
	all, err := h.o.Supervisor.List(ctx)
	if err != nil {
		h.t.Error(err)
	}
	for _, st := range all {
		if err := h.o.Supervisor.Stop(ctx, st.Name, time.Second); err != nil {
			h.t.Error(err)
		}
	}
	if err := release.RemoveUser(ctx, h.app.GetSlug()); err != nil {
		h.t.Error(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// release packs files as an artifact and describes a release of it.
func (h *host) release(name string, kind gestorv1.AppKind, files map[string]string) *agentv1.ReleaseSpec {
	h.t.Helper()
	dir := h.t.TempDir()
	for p, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755), os.WriteFile(filepath.Join(dir, p), []byte(text), 0o644)); err != nil {
			h.t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	defer root.Close()
	var packed bytes.Buffer
	sum, err := archive.Pack(h.t.Context(), root, archive.PackOptions{ModTime: time.Now()}, &packed)
	if err != nil {
		h.t.Fatal(err)
	}
	h.artifacts[sum.Digest] = packed.Bytes()
	r := &agentv1.ReleaseSpec{
		Id: "rel_" + name, Name: name, ArtifactDigest: sum.Digest, ArtifactBytes: sum.Bytes, UnpackedBytes: sum.Unpacked,
		Files: int64(len(files)), Kind: kind,
	}
	if kind == gestorv1.AppKind_APP_KIND_PROCESS {
		r.StartCommand = "node server.js"
	}
	return r
}

func (h *host) static(name, text string) *agentv1.ReleaseSpec {
	return h.release(name, gestorv1.AppKind_APP_KIND_STATIC, map[string]string{"index.html": text, ".secret": "no", "sub/page.html": "page " + text})
}

const nodeServer = `
const http = require('http');
const s = http.createServer((q, r) => setTimeout(() => r.end('NAME ' + process.env.GREETING), 5));
s.keepAliveTimeout = 60000;
s.listen(process.env.PORT, process.env.HOST, () => console.log('listening'));
process.on('SIGTERM', () => { s.close(() => process.exit(0)); s.closeIdleConnections(); });
`

func (h *host) node(name string) *agentv1.ReleaseSpec {
	return h.release(name, gestorv1.AppKind_APP_KIND_PROCESS, map[string]string{"server.js": strings.ReplaceAll(nodeServer, "NAME", name)})
}

// do runs a task to its end.
func (h *host) do(kind string, fill func(*agentv1.TaskSpec)) (*agentv1.TaskResult, error) {
	h.fence++
	spec := &agentv1.TaskSpec{Id: fmt.Sprintf("tsk_%d", h.fence), Kind: kind, Fence: h.fence}
	fill(spec)
	for _, e := range h.d.Executors() {
		if e.Kind() == kind {
			return e.Run(h.t.Context(), task.Task{Spec: spec, Secrets: &agentv1.Secrets{Env: map[string]string{"GREETING": "hello"}}}, h.said)
		}
	}
	return nil, errors.New("no such executor")
}

func (h *host) prepare(r *agentv1.ReleaseSpec) error {
	_, err := h.do("prepare", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Prepare{Prepare: &agentv1.PrepareWork{App: h.app, Release: r, Serving: h.serving}}
	})
	return err
}

func (h *host) switchTo(r *agentv1.ReleaseSpec) (*agentv1.SwitchResult, error) {
	result, err := h.do("switch", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{App: h.app, Release: r, Serving: h.serving}}
	})
	return result.GetSwitch(), err
}

func (h *host) watch(r *agentv1.ReleaseSpec, d time.Duration) error {
	_, err := h.do("watch", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Watch{Watch: &agentv1.WatchWork{App: h.app, Release: r, Serving: h.serving, Duration: durationpb.New(d)}}
	})
	return err
}

func (h *host) retire(keep ...string) error {
	_, err := h.do("retire", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Retire{Retire: &agentv1.RetireWork{App: h.app, Keep: keep, Drain: h.serving.GetDrain()}}
	})
	return err
}

func (h *host) remove(purge bool) error {
	_, err := h.do("remove", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Remove{Remove: &agentv1.RemoveWork{App: h.app, Purge: purge}}
	})
	return err
}

// deploy takes a release through all steps.
func (h *host) deploy(r *agentv1.ReleaseSpec, keep ...string) {
	h.t.Helper()
	if err := h.prepare(r); err != nil {
		h.t.Fatalf("prepare: %v", err)
	}
	if _, err := h.switchTo(r); err != nil {
		h.t.Fatalf("switch: %v", err)
	}
	if err := h.watch(r, 0); err != nil {
		h.t.Fatalf("watch: %v", err)
	}
	if err := h.retire(append(keep, r.GetName())...); err != nil {
		h.t.Fatalf("retire: %v", err)
	}
}

// get asks the app through nginx.
func (h *host) get(path string) (int, string) {
	h.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", h.serving.GetPort(), path))
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

func (h *host) wants(path, text string) {
	h.t.Helper()
	if code, got := h.get(path); code != http.StatusOK || got != text {
		h.t.Errorf("%s answers %d %q, want %q", path, code, got, text)
	}
}

func (h *host) running() []string {
	h.t.Helper()
	all, err := h.o.Supervisor.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, st := range all {
		if st.Running {
			names = append(names, st.Name)
		}
	}
	return names
}

// blobs serve the artifacts in pieces that break off.
type blobs struct{ h *host }

func (b blobs) Get(_ context.Context, _ string, _ uint64, digest string, offset int64) (io.ReadCloser, error) {
	data, ok := b.h.artifacts[digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(bytes.NewReader(data[offset:]), 100), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the connection broke") }

type noArtifacts struct{}

func (noArtifacts) Open(string) (io.ReadCloser, bool) { return nil, false }

type noRuntimes struct{}

func (noRuntimes) Ensure(context.Context, string, string, runtime.Logf) (string, error) {
	return "/usr/bin", nil
}

// builds note which apps were forgotten.
type builds struct {
	forgotten []string
	err       error
}

func (b *builds) Forget(appID string) error {
	b.forgotten = append(b.forgotten, appID)
	return b.err
}

// sink shows what tasks say.
type sink struct {
	t  *testing.T
	mu sync.Mutex
	b  strings.Builder
}

func (s *sink) Phase(string)      {}
func (s *sink) Progress(int)      {}
func (s *sink) Stdout() io.Writer { return s }
func (s *sink) Stderr() io.Writer { return s }

func (s *sink) Logf(format string, args ...any) { _, _ = fmt.Fprintf(s, format+"\n", args...) }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
