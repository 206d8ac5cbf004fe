package gestor

import (
	"math"
	"path"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Defaults and bounds of an app's settings.
const (
	DefaultEnvironment   = "production"
	DefaultHealthPath    = "/"
	DefaultHealthTimeout = 60 * time.Second
	DefaultWatch         = 10 * time.Second
	DefaultDrain         = 30 * time.Second
	DefaultKeep          = 5

	MaxHealthTimeout = 10 * time.Minute
	MaxWatch         = time.Hour
	MaxDrain         = 10 * time.Minute
	MaxKeep          = 100
	MaxBuildTime     = 24 * time.Hour
	MaxAppNodes      = 100
	MaxDomains       = 50
	MaxShared        = 50
	maxAppName       = 100
	maxCommand       = 4000
	minMemory        = 4 << 20
	minDisk          = 1 << 20
)

// Normalize returns s as it is stored: white space around values gone, host names in lower case and without the
// last dot, paths without "./" and a slash at the end, line ends of known_hosts as \n. It makes no wrong value right.
func (s AppSettings) Normalize() AppSettings {
	for _, text := range []*string{&s.Name, &s.Repository, &s.Branch, &s.BuildCommand, &s.StartCommand, &s.HealthPath, &s.PreSwitch, &s.PostSwitch} {
		*text = strings.Trim(*text, " \t")
	}
	if s.Root = tidyPath(s.Root); s.Root == "." {
		s.Root = ""
	}
	s.Output = tidyPath(s.Output)
	s.Shared = each(s.Shared, tidyPath)
	s.Domains = each(s.Domains, tidyDomain)
	s.KnownHosts = strings.ReplaceAll(s.KnownHosts, "\r\n", "\n")
	return s
}

// each returns the items of list changed by f, as a list of its own.
func each(list []string, f func(string) string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

func tidyDomain(d string) string {
	return strings.TrimSuffix(strings.ToLower(strings.Trim(d, " \t")), ".")
}

// tidyPath removes what a person adds without meaning anything by it. ".." stays, to be refused.
func tidyPath(p string) string {
	p = strings.Trim(p, " \t")
	if p == "" || strings.HasPrefix(p, "/") || strings.Contains(p, "..") {
		return p
	}
	return path.Clean(p)
}

// WithDefaults returns s with the defaults in the place of zero values. The type, the commands, the limits and the
// name stay as they are: the runner, the agent and the slug decide them.
func (s AppSettings) WithDefaults() AppSettings {
	s.Environment = or(s.Environment, DefaultEnvironment)
	s.HealthPath = or(s.HealthPath, DefaultHealthPath)
	s.HealthTimeout = or(s.HealthTimeout, DefaultHealthTimeout)
	s.Drain = or(s.Drain, DefaultDrain)
	s.Keep = or(s.Keep, DefaultKeep)
	return s
}

// WatchOr returns how long a switched release of that kind is watched.
func (s AppSettings) WatchOr(kind Kind) time.Duration {
	if s.Watch != nil {
		return *s.Watch
	}
	if kind == KindStatic {
		return 0
	}
	return DefaultWatch
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Validate checks normalised settings; field is what the contract calls them ("settings").
func (s AppSettings) Validate(field string) error {
	at := func(name string) string { return field + "." + name }
	return firstError(
		checkLength(at("name"), s.Name, maxAppName), checkText(at("name"), s.Name, ""),
		CheckRepository(at("repository"), s.Repository), CheckRef(at("branch"), s.Branch),
		checkAppType(at("type"), s.Type), checkEnvironment(at("environment"), s.Environment),
		checkDomains(at("domains"), s.Domains), CheckPort(at("port"), s.Port),
		CheckPath(at("root"), s.Root), CheckPath(at("output"), s.Output), checkSharedList(at("shared"), s.Shared),
		s.validateCommands(at),
		CheckHealthPath(at("health_path"), s.HealthPath), CheckKnownHosts(at("known_hosts"), s.KnownHosts),
		s.validateTimes(at),
		s.validateNodes(at("nodes")), checkRange(at("keep"), s.Keep, 0, MaxKeep),
		s.Limits.validate(at("limits")), s.BuildLimits.validate(at("build_limits")),
	)
}

func (s AppSettings) validateCommands(at func(string) string) error {
	if s.Type == TypeStatic && s.StartCommand != "" {
		return fault.Invalid(at("start_command"), "a static app has nothing to start").WithFix("leave it empty or choose another type")
	}
	return firstError(
		CheckCommand(at("build_command"), s.BuildCommand), CheckCommand(at("start_command"), s.StartCommand),
		CheckCommand(at("pre_switch"), s.PreSwitch), CheckCommand(at("post_switch"), s.PostSwitch),
	)
}

// CheckCommand checks a command line that a shell will run inside the app's sandbox. It is code by design, so
// only what cannot be one line of it is refused.
func CheckCommand(field, command string) error {
	if strings.HasPrefix(command, "-") {
		return fault.Invalid(field, "it begins with a hyphen, which the shell takes for an option").WithFix("begin with the program's name")
	}
	if strings.ContainsAny(command, "\r\n") {
		return fault.Invalid(field, "it has more than one line").WithFix("join the lines with && or put them in a script of the repository")
	}
	return firstError(checkLength(field, command, maxCommand), checkText(field, command, "\t"))
}

func (s AppSettings) validateTimes(at func(string) string) error {
	watch := time.Duration(0)
	if s.Watch != nil {
		watch = *s.Watch
	}
	return firstError(
		checkSpan(at("health_timeout"), s.HealthTimeout, MaxHealthTimeout),
		checkSpan(at("watch"), watch, MaxWatch), checkSpan(at("drain"), s.Drain, MaxDrain),
	)
}

func (s AppSettings) validateNodes(field string) error {
	if len(s.Nodes) > MaxAppNodes {
		return fault.Invalid(field, "%d nodes, %d are allowed", len(s.Nodes), MaxAppNodes)
	}
	seen := make(map[NodeID]bool, len(s.Nodes))
	for i, n := range s.Nodes {
		if seen[n] {
			return fault.Invalid(index(field, i), "the node is there twice").WithFix("name it once")
		}
		seen[n] = true
	}
	return nil
}

func (l Limits) validate(field string) error {
	at := func(name string) string { return field + "." + name }
	if math.IsNaN(l.CPUs) || l.CPUs < 0 || l.CPUs > 1024 || (l.CPUs > 0 && l.CPUs < 0.01) {
		return fault.Invalid(at("cpus"), "it is not between 0.01 and 1024").WithFix("use 0 for the default")
	}
	return firstError(
		checkBytes(at("memory_bytes"), l.MemoryBytes, minMemory), checkBytes(at("disk_bytes"), l.DiskBytes, minDisk),
		checkRange(at("processes"), l.Processes, 0, 100_000), checkSpan(at("time"), l.Time, MaxBuildTime),
	)
}

func checkBytes(field string, n, least uint64) error {
	const most = 1 << 50 // 1 PiB; above it, arithmetic on the host would overflow
	if n != 0 && (n < least || n > most) {
		return fault.Invalid(field, "%d is not between %d and %d bytes", n, least, uint64(most)).WithFix("use 0 for the default")
	}
	return nil
}

func checkRange(field string, n, least, most int) error {
	if n < least || n > most {
		return fault.Invalid(field, "%d is not between %d and %d", n, least, most)
	}
	return nil
}

func checkSpan(field string, d, most time.Duration) error {
	if d < 0 || d > most {
		return fault.Invalid(field, "%s is not between 0 and %s", d, most)
	}
	return nil
}

func checkAppType(field string, t AppType) error {
	switch t {
	case "", TypeNode, TypePHP, TypePython, TypeStatic, TypeDocker:
		return nil
	}
	return fault.Invalid(field, "%s is no type", quote(string(t))).WithFix("use node, php, python, static or docker, or leave it out to detect it")
}

func checkEnvironment(field, e string) error {
	switch e {
	case "", "development", "staging", "production":
		return nil
	}
	return fault.Invalid(field, "%s is no environment", quote(e)).WithFix("use development, staging or production")
}

func checkDomains(field string, domains []string) error {
	if len(domains) > MaxDomains {
		return fault.Invalid(field, "%d names, %d are allowed", len(domains), MaxDomains)
	}
	seen := make(map[string]bool, len(domains))
	for i, d := range domains {
		if err := CheckDomain(index(field, i), d); err != nil {
			return err
		}
		if seen[d] {
			return fault.Invalid(index(field, i), "%s is there twice", quote(d)).WithFix("name it once")
		}
		seen[d] = true
	}
	return nil
}

func checkSharedList(field string, paths []string) error {
	if len(paths) > MaxShared {
		return fault.Invalid(field, "%d paths, %d are allowed", len(paths), MaxShared)
	}
	return CheckShared(field, paths)
}
