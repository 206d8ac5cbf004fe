package identity

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mostServers bounds what is believed of a list of servers.
const mostServers = 64

// Learn takes over where the servers are now, so that an agent that is started again knows servers that came after it
// joined. Addresses that make no sense are left out; without any that do, nothing changes.
func (k *Keeper) Learn(servers []string) {
	var known []string
	for _, s := range servers[:min(len(servers), mostServers)] {
		if address, err := Address(s); err == nil && !slices.Contains(known, address) {
			known = append(known, address)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(known) == 0 || sameAddresses(known, k.identity.Servers) {
		return
	}
	next := k.identity
	next.Servers = known
	if err := k.dir.Store(next); err != nil {
		k.log.Warn("could not store where the servers are", "err", err)
	}
	k.log.Info("learned where the servers are", "servers", known)
	k.identity = next
}

func sameAddresses(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Starts is how often an agent was started with this identity, this time included; 0 if that could not be counted.
func (k *Keeper) Starts() uint64 { return k.starts }

const startsName = "starts"

// countStart adds one to the number of starts, durably.
func (d Dir) countStart() (uint64, error) {
	b, err := os.ReadFile(d.path(startsName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("read the number of starts: %w", err)
	}
	var n uint64
	if err == nil {
		if n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 31); err != nil {
			return 0, fmt.Errorf("read the number of starts in %s: %w", d.path(startsName), err)
		}
	}
	return n + 1, d.write(startsName, []byte(strconv.FormatUint(n+1, 10)+"\n"))
}
