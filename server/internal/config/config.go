// Package config puts the server's settings together: built-in defaults, then the TOML file, then GESTOR_* of the
// environment, then flags; later ones win. A key that does not exist is an error, because a misspelt setting that is
// silently ignored is worse than a server that does not start.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// DefaultPath is where the file is looked for when nothing else is said. It need not exist.
const DefaultPath = "/etc/gestor/server.toml"

// Config is the server's settings.
type Config struct {
	DataDir       string   `toml:"data_dir"`       // everything the server keeps; absolute
	Listen        string   `toml:"listen"`         // host:port to listen on; an empty host means all addresses
	PublicURLs    []string `toml:"public_urls"`    // where people and agents reach it, the first for new agents
	PasskeyDomain string   `toml:"passkey_domain"` // the domain that passkeys are for, the same on all control servers; the host of the first public URL if empty; passkeys of another one work no more
	Name          string   `toml:"name"`           // this server's name among the control servers, a DNS label; the host's name if empty
	PeerListen    string   `toml:"peer_listen"`    // host:port for the other control servers; empty: a free port of the loopback interface, for a server that stays alone
	PeerAddress   string   `toml:"peer_address"`   // where the other control servers reach it, host:port; guessed from public_urls and peer_listen if empty
	Heartbeat     Duration `toml:"heartbeat"`      // how long control servers do not hear of their leader before they elect another; 300ms by default, more between sites
	Join          []string `toml:"join"`           // https://… of servers to join at the first start; not read later
	LogLevel      string   `toml:"log_level"`      // "debug", "info", "warn", "error"
	LogFormat     string   `toml:"log_format"`     // "text" or "json"
	LogDir        string   `toml:"log_dir"`        // where app.log, access.log, error.log and audit/ are written; empty: to standard error only
	AuditYears    int      `toml:"audit_years"`    // how many years of the audit log stay in the state besides this one, before they go to an artifact; 0 means 5
	FirstUID      uint32   `toml:"first_uid"`      // of the first app's system user on all nodes; 0 means 70000; decided at the first start for good

	MetricsListen string   `toml:"metrics_listen"` // host:port where metrics and health are served without TLS and without a sign-in; empty: nowhere
	MetricsPublic bool     `toml:"metrics_public"` // that address may be one the internet reaches
	Limits        Limits   `toml:"limits"`
	Backup        Backup   `toml:"backup"`
	Mail          Mail     `toml:"mail"`
	Outgoing      Outgoing `toml:"outgoing"`
	DiskReserve   Size     `toml:"disk_reserve"` // free bytes below which changes are refused and another server leads; 0: 1 GiB, or 5 % of a larger disk
}

// Default is a server on one machine, reached under its host name.
func Default() Config {
	return Config{DataDir: "/opt/saas-gestor/data", Listen: ":8443", PeerListen: ":8444", LogLevel: "info", LogFormat: "text", FirstUID: gestor.DefaultFirstUID, AuditYears: defaultAuditYears, Limits: DefaultLimits(), Backup: DefaultBackup()}
}

// Duration is a time.Duration that is written as in Go, "300ms".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// What Heartbeat may be: below, a busy machine elects for nothing; above, nobody waits that long.
const (
	leastHeartbeat = 200 * time.Millisecond
	mostHeartbeat  = 10 * time.Second
)

// setting is a value that may come from a flag or the environment.
type setting struct {
	flag, env, usage string
	set              func(c *Config, value string)
}

func settings() []setting {
	return []setting{
		{"data-dir", "GESTOR_DATA_DIR", "directory for everything the server keeps", func(c *Config, v string) { c.DataDir = v }},
		{"listen", "GESTOR_LISTEN", "address to listen on, host:port", func(c *Config, v string) { c.Listen = v }},
		{"public-url", "GESTOR_PUBLIC_URL", "where people and agents reach the server, https://…; several with commas", func(c *Config, v string) { c.PublicURLs = list(v) }},
		{"passkey-domain", "GESTOR_PASSKEY_DOMAIN", "domain that passkeys are for, the same on all control servers (default: the host of the first public URL)", func(c *Config, v string) { c.PasskeyDomain = v }},
		{"name", "GESTOR_NAME", "this server's name among the control servers", func(c *Config, v string) { c.Name = v }},
		{"peer-listen", "GESTOR_PEER_LISTEN", "address to listen on for other control servers, host:port", func(c *Config, v string) { c.PeerListen = v }},
		{"peer-address", "GESTOR_PEER_ADDRESS", "where other control servers reach this one, host:port", func(c *Config, v string) { c.PeerAddress = v }},
		{"join", "GESTOR_JOIN", "control server to join at the first start, https://…, with the token in GESTOR_JOIN_TOKEN; several with commas", func(c *Config, v string) { c.Join = list(v) }},
		{"log-level", "GESTOR_LOG_LEVEL", "debug, info, warn or error", func(c *Config, v string) { c.LogLevel = v }},
		{"log-format", "GESTOR_LOG_FORMAT", "text or json", func(c *Config, v string) { c.LogFormat = v }},
		{"log-dir", "GESTOR_LOG_DIR", "directory for log files beside standard error", func(c *Config, v string) { c.LogDir = v }},
		{"metrics-listen", "GESTOR_METRICS_LISTEN", "private address for metrics and health without TLS, host:port", func(c *Config, v string) { c.MetricsListen = v }},
		{"metrics-public", "GESTOR_METRICS_PUBLIC", "true if that address may be one the internet reaches", func(c *Config, v string) { c.MetricsPublic = v == "true" }},
	}
}

func list(v string) []string {
	var out []string
	for s := range strings.SplitSeq(v, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Flags adds the server's flags to a set.
func Flags(set *pflag.FlagSet) {
	set.String("config", "", "configuration file (default "+DefaultPath+", if it is there)")
	for _, s := range settings() {
		set.String(s.flag, "", s.usage+" ("+s.env+")")
	}
}

// Load reads all sources and checks the result. flags must have been made by Flags and parsed.
func Load(flags *pflag.FlagSet, lookup func(string) (string, bool)) (Config, error) {
	c := Default()
	if err := loadFile(&c, flags, lookup); err != nil {
		return Config{}, err
	}
	for _, s := range settings() {
		if v, ok := lookup(s.env); ok && v != "" {
			s.set(&c, v)
		}
		if f := flags.Lookup(s.flag); f != nil && f.Changed {
			s.set(&c, f.Value.String())
		}
	}
	return c, c.Check()
}

func loadFile(c *Config, flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	path, explicit := DefaultPath, false
	if v, ok := lookup("GESTOR_CONFIG"); ok && v != "" {
		path, explicit = v, true
	}
	if f := flags.Lookup("config"); f != nil && f.Changed {
		path, explicit = f.Value.String(), true
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := decode(raw, c); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func decode(raw []byte, c *Config) error {
	err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(c)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var keys []string
		for _, e := range unknown.Errors {
			row, _ := e.Position()
			keys = append(keys, fmt.Sprintf("%s (line %d)", strings.Join(e.Key(), "."), row))
		}
		return fmt.Errorf("unknown keys: %s; remove or correct them", strings.Join(keys, ", "))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := bad.Position()
		return fmt.Errorf("line %d, column %d: %w", row, column, bad)
	}
	return err
}

// Check says what is wrong with c, naming the key.
func (c Config) Check() error {
	if !filepath.IsAbs(c.DataDir) {
		return fmt.Errorf("data_dir %q is not an absolute path", c.DataDir)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen %q is not host:port: write :8443 or 192.0.2.7:8443", c.Listen)
	}
	if c.FirstUID != 0 && c.FirstUID < 1000 || c.FirstUID > 1<<30 {
		return fmt.Errorf("first_uid %d is not from 1000 to %d: leave it out, or choose a range that nothing else uses on any node", c.FirstUID, 1<<30)
	}
	if err := errors.Join(c.checkPeers(), c.checkOperations(), c.Backup.check(), c.Mail.check(), c.Outgoing.check()); err != nil {
		return err
	}
	for _, raw := range c.PublicURLs {
		if err := checkURL("public_urls", raw); err != nil {
			return err
		}
	}
	if _, err := c.Level(); err != nil {
		return err
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("log_format %q is neither text nor json", c.LogFormat)
	}
	return nil
}

func (c Config) checkPeers() error {
	if d := time.Duration(c.Heartbeat); d != 0 && (d < leastHeartbeat || d > mostHeartbeat) {
		return fmt.Errorf("heartbeat %s is not from %s to %s: leave it out, or write 500ms for servers at different sites", d, leastHeartbeat, mostHeartbeat)
	}
	if _, _, err := net.SplitHostPort(c.PeerListen); c.PeerListen != "" && err != nil {
		return fmt.Errorf("peer_listen %q is not host:port: write :8444 or 192.0.2.7:8444", c.PeerListen)
	}
	if host, port, err := net.SplitHostPort(c.PeerAddress); c.PeerAddress != "" && (err != nil || host == "" || port == "" || port == "0") {
		return fmt.Errorf("peer_address %q is not host:port as other servers reach it: write 192.0.2.7:8444", c.PeerAddress)
	}
	if c.Name != "" {
		if err := gestor.CheckNodeName("name", c.Name); err != nil {
			return err
		}
	}
	for _, raw := range c.Join {
		if err := checkURL("join", raw); err != nil {
			return err
		}
	}
	return nil
}

func checkURL(key, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s: %q is not https://host or https://host:port", key, raw)
	}
	return nil
}

// Level is the least level that is logged.
func (c Config) Level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, fmt.Errorf("log_level %q is none of debug, info, warn, error", c.LogLevel)
	}
	return level, nil
}
