// Package config reads the agent's settings: built-in values, then the file, then the environment, then flags. An
// unknown setting is refused with the place it is in. What the host forbids the control servers is not here but in
// package policy.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/agent/internal/policy"
	"github.com/saas-gestor/gestor/proto/fault"
)

// The files read when nothing else is said.
const (
	DefaultFile   = "/etc/gestor-agent/agent.toml"
	DefaultPolicy = "/etc/gestor-agent/policy.toml"
	envPrefix     = "GESTOR_AGENT_"
)

// Config is the agent's settings.
type Config struct {
	DataDir    string     `toml:"data_dir"`    // identity, journal, spool, caches
	DeployRoot string     `toml:"deploy_root"` // apps live in folders of it
	HTTPPort   int        `toml:"http_port"`   // where the web server listens for apps without a port of their own
	Servers    []string   `toml:"servers"`     // host:port, in place of those the join gave
	RunnerDir  string     `toml:"runner_dir"`  // the runner plug-ins; the folder of this program if empty
	PolicyFile string     `toml:"policy_file"`
	LogLevel   slog.Level `toml:"log_level"`
	Nginx      Nginx      `toml:"nginx"`
	AppPorts   Ports      `toml:"app_ports"`
	Build      Build      `toml:"build"`
	LogSpool   LogSpool   `toml:"log_spool"`
}

// Nginx says which web server to use.
type Nginx struct {
	Mode    string `toml:"mode"`     // "auto", "system" (the host's own, reloaded by systemd) or "managed" (one of the agent's)
	Binary  string `toml:"binary"`   // looked up in PATH if empty
	ConfDir string `toml:"conf_dir"` // where the system's nginx includes files from; found if empty
}

// Ports is the range apps get their ports from, both ends included.
type Ports struct {
	First int `toml:"first"`
	Last  int `toml:"last"`
}

// Build holds ceilings for builds, which no app's settings exceed. 0 sets none.
type Build struct {
	MemoryMB   int64 `toml:"memory_mb"`
	CPUPercent int   `toml:"cpu_percent"` // 100 is one processor
	Processes  int   `toml:"processes"`
	DiskMB     int64 `toml:"disk_mb"`
	Minutes    int   `toml:"minutes"`
}

// LogSpool bounds the log lines that wait for a server.
type LogSpool struct {
	MB int64 `toml:"mb"`
}

// Default is what holds when nothing is said.
func Default() Config {
	return Config{
		DataDir: "/var/lib/gestor-agent", DeployRoot: "/home/deploy", HTTPPort: 80, PolicyFile: DefaultPolicy,
		Nginx: Nginx{Mode: "auto"}, AppPorts: Ports{First: 20000, Last: 29999}, LogSpool: LogSpool{MB: 256},
	}
}

// Source is where settings come from.
type Source struct {
	File        string                           // DefaultFile if empty; only that one may be missing
	Environment func(name string) (string, bool) // os.LookupEnv if nil
	Flags       *pflag.FlagSet                   // with the flags of AddFlags; nil for none
}

// setting is one that the environment and flags can set, too.
type setting struct {
	name string // as in the file; --data-dir and GESTOR_AGENT_DATA_DIR follow from it
	help string
	set  func(c *Config, value string) error
}

func settings() []setting {
	text := func(field func(*Config) *string) func(*Config, string) error {
		return func(c *Config, v string) error { *field(c) = v; return nil }
	}
	return []setting{
		{"data_dir", "folder of identity, journal and caches", text(func(c *Config) *string { return &c.DataDir })},
		{"deploy_root", "folder that apps live in", text(func(c *Config) *string { return &c.DeployRoot })},
		{"runner_dir", "folder of the runner plug-ins", text(func(c *Config) *string { return &c.RunnerDir })},
		{"policy_file", "the host's own policy", text(func(c *Config) *string { return &c.PolicyFile })},
		{"nginx_mode", "auto, system or managed", text(func(c *Config) *string { return &c.Nginx.Mode })},
		{"nginx_binary", "path of nginx", text(func(c *Config) *string { return &c.Nginx.Binary })},
		{"nginx_conf_dir", "folder the system's nginx includes", text(func(c *Config) *string { return &c.Nginx.ConfDir })},
		{"http_port", "port of apps without one of their own", func(c *Config, v string) (err error) {
			c.HTTPPort, err = strconv.Atoi(v)
			return err
		}},
		{"servers", "control servers, host:port, comma-separated", func(c *Config, v string) error {
			c.Servers = slices.DeleteFunc(strings.Split(v, ","), func(s string) bool { return s == "" })
			return nil
		}},
		{"log_level", "debug, info, warn or error", func(c *Config, v string) error { return c.LogLevel.UnmarshalText([]byte(v)) }},
	}
}

func (s setting) flag() string { return strings.ReplaceAll(s.name, "_", "-") }
func (s setting) env() string  { return envPrefix + strings.ToUpper(s.name) }

// AddFlags defines a flag for each setting that can have one.
func AddFlags(f *pflag.FlagSet) {
	for _, s := range settings() {
		f.String(s.flag(), "", s.help)
	}
}

// Load reads the settings and checks them.
func Load(from Source) (Config, error) {
	c := Default()
	if err := c.readFile(from.File); err != nil {
		return c, err
	}
	if from.Environment == nil {
		from.Environment = os.LookupEnv
	}
	for _, s := range settings() {
		if err := s.apply(&c, from); err != nil {
			return c, err
		}
	}
	return c, c.finish()
}

func (s setting) apply(c *Config, from Source) error {
	if v, ok := from.Environment(s.env()); ok {
		if err := s.set(c, v); err != nil {
			return fault.Invalid(s.env(), "%q is no good value: %s", v, err)
		}
	}
	if from.Flags == nil || !from.Flags.Changed(s.flag()) {
		return nil
	}
	v, err := from.Flags.GetString(s.flag())
	if err == nil {
		err = s.set(c, v)
	}
	if err != nil {
		return fault.Invalid("--"+s.flag(), "%q is no good value: %s", v, err)
	}
	return nil
}

func (c *Config) readFile(path string) error {
	optional := path == ""
	if optional {
		path = DefaultFile
	}
	f, err := os.Open(path)
	if optional && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open settings: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(c); err != nil {
		return policy.Explain(path, err)
	}
	return nil
}

// finish fills in what depends on this host and checks everything.
func (c *Config) finish() error {
	if c.RunnerDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		c.RunnerDir = filepath.Dir(self)
	}
	for name, dir := range map[string]string{"data_dir": c.DataDir, "deploy_root": c.DeployRoot, "runner_dir": c.RunnerDir} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
			return fault.Invalid(name, "%q must be an absolute path below /", dir)
		}
	}
	if !slices.Contains([]string{"auto", "system", "managed"}, c.Nginx.Mode) {
		return fault.Invalid("nginx.mode", "%q must be auto, system or managed", c.Nginx.Mode)
	}
	return errors.Join(c.checkNumbers(), c.checkServers())
}

func (c *Config) checkNumbers() error {
	if c.HTTPPort < 1 || c.HTTPPort > 65535 {
		return fault.Invalid("http_port", "%d must be between 1 and 65535", c.HTTPPort)
	}
	if c.AppPorts.First < 1024 || c.AppPorts.Last > 65535 || c.AppPorts.Last-c.AppPorts.First < 9 {
		return fault.Invalid("app_ports", "%d to %d must be at least ten ports between 1024 and 65535", c.AppPorts.First, c.AppPorts.Last)
	}
	if c.LogSpool.MB < 1 || c.LogSpool.MB > 1<<20 {
		return fault.Invalid("log_spool.mb", "%d must be between 1 and 1048576", c.LogSpool.MB)
	}
	b := c.Build
	if b.MemoryMB < 0 || b.CPUPercent < 0 || b.Processes < 0 || b.DiskMB < 0 || b.Minutes < 0 {
		return fault.Invalid("build", "a ceiling must not be negative; 0 sets none")
	}
	return nil
}

func (c *Config) checkServers() error {
	for _, s := range c.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fault.Invalid("servers", "%q must be host:port", s)
		}
	}
	return nil
}
