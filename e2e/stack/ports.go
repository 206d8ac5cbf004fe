package stack

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// settled is what must be the same again on a second start.
type settled struct {
	Port      int   `json:"port"`
	HTTPPorts []int `json:"http_ports"`
	FirstUID  int   `json:"first_uid"`
}

// settle chooses ports, or reads those chosen before.
func settle(ctx context.Context, o Options) (settled, error) {
	path := filepath.Join(o.Dir, "ports.json")
	var ports settled
	if raw, err := os.ReadFile(path); err == nil {
		return ports, json.Unmarshal(raw, &ports)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return ports, err
	}
	ports = settled{Port: o.Port, HTTPPorts: o.HTTPPorts}
	var err error
	if err := removeOrphans(ctx, o.Dir); err != nil {
		return ports, err
	}
	if ports.FirstUID, err = freeUIDs(); err != nil {
		return ports, err
	}
	if ports.Port == 0 {
		if ports.Port, err = FreePort(ctx); err != nil {
			return ports, err
		}
	}
	for len(ports.HTTPPorts) < o.Agents {
		port, err := FreePort(ctx)
		if err != nil {
			return ports, err
		}
		ports.HTTPPorts = append(ports.HTTPPorts, port)
	}
	raw, err := json.Marshal(ports)
	if err != nil {
		return ports, err
	}
	return ports, os.WriteFile(path, raw, 0o600)
}

// FreePort is a loopback TCP port that nothing listens on right now.
func FreePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address, err := netip.ParseAddrPort(l.Addr().String())
	return int(address.Port()), errors.Join(err, l.Close())
}
