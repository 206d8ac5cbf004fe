package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
)

// Limits are how much callers may ask of this server. Every zero means no limit. The defaults are far above what people,
// scripts and agents do, and far below what the smallest server can bear: they end accidents and attacks, nothing else.
type Limits struct {
	AddressReads         float64 `toml:"address_reads_per_second"`  // of one address (IPv6: /64), by those without a certificate; programs of this machine are not counted
	AddressWrites        float64 `toml:"address_writes_per_second"` // likewise
	TenantReads          float64 `toml:"tenant_reads_per_second"`   // of all users of a tenant, on this server
	TenantWrites         float64 `toml:"tenant_writes_per_second"`  // likewise
	NodeCalls            float64 `toml:"node_calls_per_second"`     // of one agent
	CallsAtOnce          int     `toml:"calls_at_once"`             // reads that run; as many writes, as many calls of agents
	StreamsPerSession    int     `toml:"streams_per_session"`       // watches and logs that one sign-in has open
	StreamsPerNode       int     `toml:"streams_per_node"`          // of one agent: control, logs, artifacts
	Connections          int     `toml:"connections"`               // of those without a certificate
	ConnectionsPerSource int     `toml:"connections_per_network"`   // of those, of one /24 of IPv4 or /64 of IPv6
}

// DefaultLimits are the limits of a server whose file does not name them.
func DefaultLimits() Limits {
	return Limits{
		AddressReads: 1000, AddressWrites: 500, // an office behind one address
		TenantReads: 2000, TenantWrites: 1000, // a tenth of what two cores can do
		NodeCalls: 200, CallsAtOnce: 512,
		StreamsPerSession: 200, StreamsPerNode: 64,
		Connections: 20000, ConnectionsPerSource: 512,
	}
}

// defaultAuditYears is how long the audit log is searched without its archives.
const defaultAuditYears = 5

func (l Limits) check() error {
	if l.AddressReads < 0 || l.AddressWrites < 0 || l.TenantReads < 0 || l.TenantWrites < 0 || l.NodeCalls < 0 || l.CallsAtOnce < 0 ||
		l.StreamsPerSession < 0 || l.StreamsPerNode < 0 || l.Connections < 0 || l.ConnectionsPerSource < 0 {
		return errors.New("limits: a limit is less than 0; write 0 for none")
	}
	return nil
}

func (c Config) checkOperations() error {
	if c.LogDir != "" && !filepath.IsAbs(c.LogDir) {
		return fmt.Errorf("log_dir %q is not an absolute path", c.LogDir)
	}
	if c.AuditYears < 0 {
		return fmt.Errorf("audit_years is %d: keep at least 1, or write 0 for %d", c.AuditYears, defaultAuditYears)
	}
	if err := c.checkMetrics(); err != nil {
		return err
	}
	return c.Limits.check()
}

// checkMetrics refuses an address that the internet may reach, unless that was said to be meant: what is served there needs no
// sign-in.
func (c Config) checkMetrics() error {
	if c.MetricsListen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.MetricsListen)
	if err != nil {
		return fmt.Errorf("metrics_listen %q is not host:port: write 127.0.0.1:9464", c.MetricsListen)
	}
	if c.MetricsPublic || private(host) {
		return nil
	}
	return fmt.Errorf("metrics_listen %q is no private address, and anybody who reaches it can read the metrics: write 127.0.0.1:9464 or an address of a private network, "+
		"or metrics_public = true if a firewall is in between", c.MetricsListen)
}

// private reports whether a host is this machine or an address of a private network. Other names may mean anything, and no name means
// every address.
func private(host string) bool {
	at, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost"
	}
	at = at.Unmap()
	return at.IsLoopback() || at.IsPrivate() || at.IsLinkLocalUnicast() ||
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(at) // shared by networks that translate, and by overlays
}
