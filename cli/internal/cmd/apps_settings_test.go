package cmd

import (
	"testing"

	"github.com/spf13/cobra"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestSettingsFlags_ReachEveryFieldOfAppSettings(t *testing.T) {
	c := &cobra.Command{Use: "set"}
	var f settingsFlags
	f.register(c, &run{env: Env{Dir: t.TempDir()}})
	settings := &gestorv1.AppSettings{}
	for name, value := range everySetting(&f) {
		if err := c.Flags().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.apply(settings); err != nil {
		t.Fatal(err)
	}
	settings.KnownHosts = "read from a file, see the script"
	m := settings.ProtoReflect()
	for i := range m.Descriptor().Fields().Len() {
		if field := m.Descriptor().Fields().Get(i); !m.Has(field) {
			t.Errorf("no flag sets %s", field.Name())
		}
	}
	for _, limits := range []*gestorv1.Limits{settings.GetLimits(), settings.GetBuildLimits()} {
		if limits.GetMemoryBytes() != 1<<20 || limits.GetCpus() != 1.5 || limits.GetProcesses() != 7 {
			t.Errorf("limits are %v", limits)
		}
	}
	if l := settings.GetBuildLimits(); l.GetTime().AsDuration() == 0 || l.GetDiskBytes() != 1<<20 {
		t.Errorf("build limits are %v", l)
	}
}

// everySetting gives each flag a value that is not its default.
func everySetting(f *settingsFlags) map[string]string {
	all := map[string]string{}
	for name := range f.text {
		all[name] = "1M"
	}
	all["type"], all["environment"] = "node", "staging"
	delete(all, "known-hosts")
	for name := range f.lists {
		all[name] = "a,b"
	}
	for name := range f.durations {
		all[name] = "5s"
	}
	for name := range f.numbers {
		all[name] = "7"
	}
	for name := range f.bools {
		all[name] = "true"
	}
	for name := range f.cpus {
		all[name] = "1.5"
	}
	return all
}

func TestParseBytes_UnderstandsBinaryUnits(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "512M": 512 << 20, "1.5G": 3 << 29, "2 GiB": 2 << 30, "64kb": 64 << 10, "1024": 1024} {
		if got, err := parseBytes("--memory", text); err != nil || got != want {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "-1", "1X", "NaN", "inf", "M", "9999999999T"} {
		if got, err := parseBytes("--memory", text); err == nil {
			t.Errorf("parseBytes(%q) = %d, want an error", text, got)
		}
	}
}
