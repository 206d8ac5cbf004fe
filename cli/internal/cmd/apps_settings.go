package cmd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// settingsFlags are the flags of apps create and apps set: one for every field of AppSettings. Only flags that were
// given change anything.
type settingsFlags struct {
	fs   *pflag.FlagSet
	path func(string) string // a file seen from the current directory

	text      map[string]*string
	lists     map[string]*[]string
	durations map[string]*string // "" is not set
	numbers   map[string]*int32
	bools     map[string]*bool
	cpus      map[string]*float64
}

func (f *settingsFlags) register(c *cobra.Command, r *run) {
	*f = settingsFlags{
		fs: c.Flags(), path: r.path, text: map[string]*string{}, lists: map[string]*[]string{}, durations: map[string]*string{},
		numbers: map[string]*int32{}, bools: map[string]*bool{}, cpus: map[string]*float64{},
	}
	f.source()
	f.running()
	f.limits("", "the program")
	f.limits("build-", "a build")
	f.span("build-time", "how long a build may take")
	f.string("build-disk", "how much disk a build may use, 4G say")
	_ = c.RegisterFlagCompletionFunc("node", r.completeNodes)
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"node", "php", "python", "static", "docker"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("environment", cobra.FixedCompletions([]string{"development", "staging", "production"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *settingsFlags) source() {
	f.string("name", "the name shown to people")
	f.string("repository", "where the source is: https://…, git@host:path, or a path on the node that its policy allows")
	f.string("branch", "the branch to deploy when nothing else is said")
	f.string("type", "node, php, python, static or docker; detected if not set")
	f.string("root", "the folder inside the repository to build")
	f.string("build-command", "builds the app, in the sandbox")
	f.string("output", "the folder a static build leaves its files in")
	f.bool("submodules", "fetch git submodules")
	f.bool("lfs", "fetch git LFS files")
	f.string("known-hosts", "a file with known_hosts lines of the repository's ssh host")
}

func (f *settingsFlags) running() {
	f.string("environment", "development, staging or production")
	f.list("domain", "a host name it answers to; may be repeated, or separated by commas, the first is the canonical one")
	f.number("port", "the port the web server listens on for it")
	f.list("node", "a node it runs on; may be repeated, or separated by commas")
	f.string("start-command", "starts the program")
	f.string("health-path", "the path asked before and after a switch")
	f.span("health-timeout", "how long a new release may take to become healthy")
	f.span("watch", "how long a switched release is watched before it counts as good")
	f.span("drain", "how long requests under way may take to end on the old release")
	f.number("keep", "releases kept besides the live, last good and pinned ones")
	f.list("shared", "a path in the release that links into the shared directory; may be repeated, or separated by commas")
	f.string("pre-switch", "runs in the new release before the switch, on each node")
	f.string("post-switch", "runs in the live release after the switch, on each node")
}

func (f *settingsFlags) limits(prefix, of string) {
	f.string(prefix+"memory", "memory ceiling of "+of+", 512M say")
	f.cpus[prefix+"cpus"] = f.fs.Float64(prefix+"cpus", 0, "processor ceiling of "+of+", 1.5 is one and a half")
	f.number(prefix+"processes", "ceiling of processes and threads of "+of)
}

func (f *settingsFlags) string(name, help string) { f.text[name] = f.fs.String(name, "", help) }
func (f *settingsFlags) list(name, help string)   { f.lists[name] = f.fs.StringArray(name, nil, help) }
func (f *settingsFlags) bool(name, help string)   { f.bools[name] = f.fs.Bool(name, false, help) }
func (f *settingsFlags) number(name, help string) { f.numbers[name] = f.fs.Int32(name, 0, help) }
func (f *settingsFlags) span(name, help string) {
	f.durations[name] = f.fs.String(name, "", help+", 30s say")
}

// changed are the names of the settings that were given.
func (f *settingsFlags) changed() []string {
	var names []string
	f.fs.Visit(func(flag *pflag.Flag) {
		if f.owns(flag.Name) {
			names = append(names, flag.Name)
		}
	})
	return names
}

func (f *settingsFlags) any() bool { return len(f.changed()) > 0 }

// items splits values at their commas and leaves out empty ones. It is no CSV: everything else in a value, a line end
// say, goes to the server, which refuses what it cannot take.
func items(values []string) []string {
	var out []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item != "" {
				out = append(out, item)
			}
		}
	}
	return out
}

func (f *settingsFlags) owns(name string) bool {
	_, text := f.text[name]
	_, list := f.lists[name]
	_, span := f.durations[name]
	_, num := f.numbers[name]
	_, flag := f.bools[name]
	_, cpus := f.cpus[name]
	return text || list || span || num || flag || cpus
}

// apply puts the given settings into s.
func (f *settingsFlags) apply(s *gestorv1.AppSettings) error {
	for _, name := range f.changed() {
		if err := f.applyOne(s, name); err != nil {
			return err
		}
	}
	return nil
}

func (f *settingsFlags) applyOne(s *gestorv1.AppSettings, name string) error {
	if bare, ok := strings.CutPrefix(name, "build-"); ok && name != "build-command" {
		if s.BuildLimits == nil {
			s.BuildLimits = &gestorv1.Limits{}
		}
		return f.applyLimit(s.BuildLimits, name, bare)
	}
	switch name {
	case "memory", "cpus", "processes":
		if s.Limits == nil {
			s.Limits = &gestorv1.Limits{}
		}
		return f.applyLimit(s.Limits, name, name)
	case "type", "environment", "known-hosts":
		return f.applyParsed(s, name, *f.text[name])
	}
	if _, ok := f.durations[name]; ok {
		return f.applySpan(s, name)
	}
	f.applyPlain(s, name)
	return nil
}

func (f *settingsFlags) applySpan(s *gestorv1.AppSettings, name string) error {
	d, err := parseSpan("--"+name, *f.durations[name])
	if err != nil {
		return err
	}
	switch name {
	case "health-timeout":
		s.HealthTimeout = d
	case "watch":
		s.Watch = d
	case "drain":
		s.Drain = d
	}
	return nil
}

// parseSpan reads "30s" or "5m"; empty goes back to the default.
func parseSpan(flag, text string) (*durationpb.Duration, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // not set is a value here
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return nil, fault.Invalid(flag, "%q is not a duration", text).WithFix("write it like 30s or 5m")
	}
	return durationpb.New(d), nil
}

func (f *settingsFlags) applyPlain(s *gestorv1.AppSettings, name string) {
	if target, ok := textFields(s)[name]; ok {
		*target = *f.text[name]
		return
	}
	switch name {
	case "domain":
		s.Domains = items(*f.lists[name])
	case "node":
		s.Nodes = items(*f.lists[name])
	case "shared":
		s.Shared = items(*f.lists[name])
	case "port":
		s.Port = *f.numbers[name]
	case "keep":
		s.Keep = *f.numbers[name]
	case "submodules":
		s.Submodules = *f.bools[name]
	case "lfs":
		s.Lfs = *f.bools[name]
	}
}

func textFields(s *gestorv1.AppSettings) map[string]*string {
	return map[string]*string{
		"name": &s.Name, "repository": &s.Repository, "branch": &s.Branch, "root": &s.Root,
		"build-command": &s.BuildCommand, "start-command": &s.StartCommand, "output": &s.Output,
		"health-path": &s.HealthPath, "pre-switch": &s.PreSwitch, "post-switch": &s.PostSwitch,
	}
}

func (f *settingsFlags) applyParsed(s *gestorv1.AppSettings, name, value string) error {
	switch name {
	case "type":
		n, ok := gestorv1.AppType_value["APP_TYPE_"+orUnspecified(value)]
		if !ok {
			return fault.Invalid("--type", "there is no type %q", value).WithFix("use node, php, python, static or docker")
		}
		s.Type = gestorv1.AppType(n)
	case "environment":
		n, ok := gestorv1.Environment_value["ENVIRONMENT_"+orUnspecified(value)]
		if !ok {
			return fault.Invalid("--environment", "there is no environment %q", value).WithFix("use development, staging or production")
		}
		s.Environment = gestorv1.Environment(n)
	case "known-hosts":
		if s.KnownHosts = ""; value == "" {
			return nil
		}
		raw, err := os.ReadFile(f.path(value))
		if err != nil {
			return fault.Invalid("--known-hosts", "%v", err)
		}
		s.KnownHosts = string(raw)
	}
	return nil
}

func orUnspecified(value string) string {
	if value == "" {
		return "UNSPECIFIED"
	}
	return strings.ToUpper(value)
}

func (f *settingsFlags) applyLimit(l *gestorv1.Limits, name, bare string) (err error) {
	switch bare {
	case "memory":
		l.MemoryBytes, err = parseBytes("--"+name, *f.text[name])
	case "disk":
		l.DiskBytes, err = parseBytes("--"+name, *f.text[name])
	case "cpus":
		l.Cpus = *f.cpus[name]
	case "processes":
		l.Processes = *f.numbers[name]
	case "time":
		l.Time, err = parseSpan("--"+name, *f.durations[name])
	}
	return err
}

// parseBytes reads "512M", "1.5G" or "1073741824"; units are binary. Empty is 0, the default.
func parseBytes(flag, text string) (uint64, error) {
	upper := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.ReplaceAll(text, " ", "")), "B"), "I")
	if upper == "" {
		return 0, nil
	}
	factor := 1.0
	if i := strings.IndexByte("KMGT", upper[len(upper)-1]); i >= 0 {
		upper = upper[:len(upper)-1]
		for range i + 1 {
			factor *= 1024
		}
	}
	n, err := strconv.ParseFloat(upper, 64)
	if err != nil || n < 0 || n*factor > 1<<60 || n != n {
		return 0, fault.Invalid(flag, "%q is not a size", text).WithFix("write it like 512M or 2G")
	}
	return uint64(n * factor), nil
}

func limitFields(prefix string, l *gestorv1.Limits) [][2]any {
	cpus := ""
	if l.GetCpus() > 0 {
		cpus = fmt.Sprint(l.GetCpus())
	}
	return [][2]any{
		{prefix + "memory", output.Bytes(l.GetMemoryBytes())},
		{prefix + "cpus", cpus},
		{prefix + "processes", number(int(l.GetProcesses()))},
		{prefix + "time", output.Span(l.GetTime())},
		{prefix + "disk", output.Bytes(l.GetDiskBytes())},
	}
}
