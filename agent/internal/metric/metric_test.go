package metric

import (
	"os"
	"path/filepath"
	"testing"
)

// proc makes a /proc with the given files.
func proc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSample_CountsWaitingForTheDiskAsIdle(t *testing.T) {
	s := &Sampler{proc: proc(t, map[string]string{"stat": "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n"}), disk: "/"}
	if got := s.cpu(); got != 0.2 {
		t.Errorf("since boot: %v, want 0.2", got)
	}
	next := "cpu  150 10 110 720 110 0 0 0 90 0\n" // 70 busy of 100
	if err := os.WriteFile(filepath.Join(s.proc, "stat"), []byte(next), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := s.cpu(); got != 0.7 {
		t.Errorf("since the sample before: %v, want 0.7", got)
	}
	if got := s.cpu(); got != 0 {
		t.Errorf("with no time between: %v, want 0", got)
	}
}

func TestMemory_CountsCachesAsFree(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  600 kB\n": {400 << 10, 1000 << 10},
		"MemTotal:  1000 kB\nMemAvailable:  2000 kB\n":                 {0, 1000 << 10},
		"MemTotal:\n\nMemTotal: many kB\n":                             {0, 0}, //nolint:dupword // as a damaged file might say
	} {
		used, total := memory(proc(t, map[string]string{"meminfo": text}))
		if used != want[0] || total != want[1] {
			t.Errorf("%q: %d of %d, want %v", text, used, total, want)
		}
	}
}

func TestSample_IsZeroWhereNothingCanBeRead(t *testing.T) {
	s := &Sampler{proc: t.TempDir(), disk: "/"}
	got := s.Sample(3)
	if got.GetCpu() != 0 || got.GetMemoryUsedBytes() != 0 || got.GetLoad1() != 0 || got.GetTasks() != 3 {
		t.Errorf("got %v", got)
	}
}

func TestSample_MeasuresThisHost(t *testing.T) {
	got := NewSampler(filepath.Join(t.TempDir(), "not", "there", "yet")).Sample(0)
	if got.GetMemoryUsedBytes() == 0 || got.GetDiskUsedBytes() == 0 || got.GetCpu() < 0 || got.GetCpu() > 1 {
		t.Errorf("got %v", got)
	}
}

func TestLoad_IsTheFirstNumber(t *testing.T) {
	if got := load1(proc(t, map[string]string{"loadavg": "1.25 0.50 0.10 2/345 6789\n"})); got != 1.25 {
		t.Errorf("got %v", got)
	}
}

func TestFacts_ReadsNamesAndTimes(t *testing.T) {
	dir := proc(t, map[string]string{
		"os-release": "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"cpuinfo":    "processor\t: 0\nmodel name\t: AMD EPYC\n",
		"stat":       "cpu 1\nintr 5\nbtime 1700000000\n",
	})
	if got := distribution(filepath.Join(dir, "os-release")); got != "Debian GNU/Linux 12 (bookworm)" {
		t.Errorf("distribution is %q", got)
	}
	if got := cpuModel(filepath.Join(dir, "cpuinfo")); got != "AMD EPYC" {
		t.Errorf("processor is %q", got)
	}
	if got := bootedAt(filepath.Join(dir, "stat")).GetSeconds(); got != 1700000000 {
		t.Errorf("booted at %d", got)
	}
	for text, want := range map[string]string{"git version 2.39.5\n": "2.39.5", "nginx version: nginx/1.22.1": "1.22.1", "v20.11.1": "20.11.1"} {
		if got := findVersion([]byte(text)); got != want {
			t.Errorf("%q: version %q, want %q", text, got, want)
		}
	}
}
