package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
)

// Here is this machine as a host of the network.
const Here = "here"

// Network is a router, the hosts around it, and what is cut between them. It is safe for concurrent use.
type Network struct {
	slot *slot

	mu    sync.Mutex
	hosts []string // by the last part of their address, from firstHost on
	cuts  []cut
}

// cut drops what goes from one host to another; with a port only TCP to that port.
type cut struct {
	from, to string
	port     int
}

// Last parts of addresses.
const (
	hereAddress   = 1
	routerAddress = 2
	firstHost     = 11
)

// Open makes a network without hosts. owner is a directory: what uses files below it belongs to the network, and is ended
// and unmounted with it when the network is a leftover.
func Open(ctx context.Context, owner string) (*Network, error) {
	s, err := takeSlot(ctx, owner)
	if err != nil {
		return nil, err
	}
	n := &Network{slot: s}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close()) //nolint:contextcheck // what was made goes also when the caller is being ended
	}
	return n, nil
}

func (n *Network) open(ctx context.Context) error {
	here, router := n.slot.address(hereAddress), n.slot.address(routerAddress)
	if err := ip(ctx, "", "netns add "+n.slot.router()); err != nil {
		return err
	}
	// Routes that differ by direction are what a one-way cut is made of, so no packet may be dropped for its way back.
	for _, setting := range []string{"all/rp_filter=0", "default/rp_filter=0", "all/forwarding=1"} {
		path, args := inside(n.slot.router(), "sysctl", "-q", "-w", "net/ipv4/conf/"+setting)
		if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("set %s at the router: %w: %s", setting, err, out)
		}
	}
	if err := ip(ctx, "", fmt.Sprintf("link add name %s type veth peer name here netns %s", n.slot.link(), n.slot.router()),
		fmt.Sprintf("addr add %s peer %s dev %s", here, router, n.slot.link()),
		fmt.Sprintf("link set dev %s up", n.slot.link()),
	); err != nil {
		return err
	}
	if err := ip(ctx, n.slot.router(), "link set dev lo up", fmt.Sprintf("addr add %s peer %s dev here", router, here), "link set dev here up"); err != nil {
		return err
	}
	return ip(ctx, "", fmt.Sprintf("route add %s via %s src %s", n.slot.subnet(), router, here))
}

// Add makes a host and returns its address. A name has at most 12 letters.
func (n *Network) Add(ctx context.Context, host string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host == Here || slices.Contains(n.hosts, host) {
		return "", fmt.Errorf("there is a host %s already", host)
	}
	n.hosts = append(n.hosts, host)
	address, router, namespace := n.address(host), n.slot.address(routerAddress), n.slot.host(host)
	if err := ip(ctx, "", "netns add "+namespace); err != nil {
		return "", err
	}
	link := "to-" + host
	if err := ip(ctx, n.slot.router(), fmt.Sprintf("link add name %s type veth peer name eth0 netns %s", link, namespace),
		fmt.Sprintf("addr add %s peer %s dev %s", router, address, link), fmt.Sprintf("link set dev %s up", link)); err != nil {
		return "", err
	}
	return address, ip(ctx, namespace, "link set dev lo up", fmt.Sprintf("addr add %s peer %s dev eth0", address, router),
		"link set dev eth0 up", "route add default via "+router)
}

// Command is how a program is run on a host. The process that is started becomes the program.
func (n *Network) Command(host, program string, args ...string) (path string, all []string) {
	return inside(n.slot.host(host), program, args...)
}

// Address is a host's address.
func (n *Network) Address(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.address(host)
}

func (n *Network) address(host string) string {
	if host == Here {
		return n.slot.address(hereAddress)
	}
	return n.slot.address(firstHost + slices.Index(n.hosts, host))
}

// Cut drops everything that goes from one host to another. The other direction stays open.
func (n *Network) Cut(ctx context.Context, from, to string) error {
	return n.drop(ctx, cut{from, to, 0})
}

// CutBoth drops everything between two hosts.
func (n *Network) CutBoth(ctx context.Context, a, b string) error {
	return errors.Join(n.Cut(ctx, a, b), n.Cut(ctx, b, a))
}

// CutPort drops what goes from one host to a TCP port of another, as a firewall in front of it would.
func (n *Network) CutPort(ctx context.Context, from, to string, port int) error {
	return n.drop(ctx, cut{from, to, port})
}

// Isolate drops everything between a host and all others, this machine excepted.
func (n *Network) Isolate(ctx context.Context, host string) error {
	var errs []error
	for _, other := range n.Hosts() {
		if other != host {
			errs = append(errs, n.CutBoth(ctx, host, other))
		}
	}
	return errors.Join(errs...)
}

// Hosts are the names of all hosts but this machine.
func (n *Network) Hosts() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.hosts)
}

func (n *Network) drop(ctx context.Context, c cut) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.cuts, c) {
		return nil
	}
	if err := ip(ctx, n.slot.router(), "rule add "+n.rule(c)); err != nil {
		return fmt.Errorf("cut %s from %s: %w", c.to, c.from, err)
	}
	n.cuts = append(n.cuts, c)
	return nil
}

func (n *Network) rule(c cut) string {
	rule := fmt.Sprintf("from %s to %s", n.address(c.from), n.address(c.to))
	if c.port > 0 {
		rule += fmt.Sprintf(" ipproto tcp dport %d", c.port)
	}
	return rule + " blackhole"
}

// Heal undoes all cuts.
func (n *Network) Heal(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.cuts) > 0 {
		if err := ip(ctx, n.slot.router(), "rule del "+n.rule(n.cuts[0])); err != nil {
			return fmt.Errorf("heal the network: %w", err)
		}
		n.cuts = n.cuts[1:]
	}
	return nil
}

// Close takes the network down. Processes on its hosts must have ended.
func (n *Network) Close() error { return n.slot.close() }

// namespaces are those that belong to a network.
func namespaces(name string) []string {
	paths, _ := filepath.Glob("/run/netns/" + name + "-*") // the pattern is right
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}

// mounted are the mount points below a directory, those inside others first.
func mounted(dir string) ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	return mountsBelow(string(raw), dir), nil
}
