package runtime

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/proto/fault"
)

// TestMain also is the init of the sandbox.
func TestMain(m *testing.M) {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func newManager(t *testing.T, path string) *Manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "gestor-runtime-") //nolint:usetesting // every user must be able to pass through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	host, err := process.New(process.Options{Dir: filepath.Join(dir, "process"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(Options{Dir: filepath.Join(dir, "runtimes"), Sandbox: host.Sandbox(), UID: 65534, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseVersions_ReadsWhatProjectsWrite(t *testing.T) {
	have := []string{"18.20.4", "20.11.1", "21.7.0", "22.11.0"}
	for asked, want := range map[string]string{
		"": "22.11.0", "*": "22.11.0", "20": "20.11.1", "v20": "20.11.1", "20.x": "20.11.1", "v20.11.1": "20.11.1",
		">=18 <21": "20.11.1", "^18.0.0 || ^20.0.0": "20.11.1", "lts/*": "22.11.0", "lts/iron": "20.11.1",
		"18 - 20": "20.11.1", ">=99": "", "~21.7": "21.7.0", ">= v22": "22.11.0",
	} {
		v, err := parseVersions(asked)
		if err != nil || v.newest(have) != want {
			t.Errorf("%q: got %q, %v; want %q", asked, v.newest(have), err, want)
		}
	}
	for _, asked := range []string{"banana", "--prefix=/", "20; id", "$(id)"} {
		if _, err := parseVersions(asked); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q: got %v", asked, err)
		}
	}
}

func TestResolve_TakesTheHostsNodeWhenItFits(t *testing.T) {
	rt, err := newManager(t, "").Resolve(t.Context(), "node", ">=1", t.Logf)
	if err != nil || rt.Version == "" {
		t.Fatalf("got %+v, %v", rt, err)
	}
	if _, err := os.Stat(filepath.Join(rt.BinDir, "node")); err != nil {
		t.Error(err)
	}
}

func TestResolve_TakesAnInstalledVersionBeforeTheRegistry(t *testing.T) {
	m := newManager(t, "/nowhere")
	bin := filepath.Join(m.o.Dir, "node", "22.1.0", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Ensure(t.Context(), "node", "22.1.0", t.Logf); err != nil || got != bin {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestResolve_SaysWhatToInstallWhenTheHostHasNoNpm(t *testing.T) {
	_, err := newManager(t, t.TempDir()).Resolve(t.Context(), "node", "22.11.0", t.Logf)
	if fault.KindOf(err) != fault.KindUnavailable || !strings.Contains(err.Error(), "no npm") {
		t.Errorf("got %v", err)
	}
}

func TestResolve_InstallsAMissingVersionFromTheRegistry(t *testing.T) {
	m := newManager(t, "")
	var said strings.Builder
	rt, err := m.Resolve(t.Context(), "node", "22.11.0", func(f string, a ...any) { said.WriteString(f) })
	if err != nil {
		t.Fatal(err)
	}
	if version, err := m.try(t.Context(), filepath.Join(rt.BinDir, "node")); err != nil || version != "22.11.0" {
		t.Errorf("it says %q, %v", version, err)
	}
	if !strings.Contains(said.String(), "installing") {
		t.Error("nobody was told")
	}
}
