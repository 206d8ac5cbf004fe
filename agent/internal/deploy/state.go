package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// state is what the host must remember of an app between tasks; it is no secret.
type state struct {
	Ports  map[string]int       `json:"ports"`  // of releases that run or ran, on the loopback
	Specs  map[string]savedSpec `json:"specs"`  // how to start them again
	Switch switchState          `json:"switch"` // the last switch that began
}

// savedSpec is what starting a release again takes.
type savedSpec struct {
	Command   string   `json:"command"`
	BinDir    string   `json:"bin_dir"`
	Commit    string   `json:"commit"`
	Shared    []string `json:"shared"`
	Memory    uint64   `json:"memory"`
	CPUs      float64  `json:"cpus"`
	Processes int      `json:"processes"`
}

// switchState lets a switch that was cut off tell what was live before it began.
type switchState struct {
	Fence    uint64 `json:"fence"`
	Release  string `json:"release"`
	Previous string `json:"previous"`
}

func (d *Deployer) statePath(slug string) string { return filepath.Join(d.o.StateDir, slug+".json") }

func (d *Deployer) load(slug string) (state, error) {
	s := state{Ports: map[string]int{}, Specs: map[string]savedSpec{}}
	b, err := os.ReadFile(d.statePath(slug))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read state of app %s: %w", slug, err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read state of app %s: %w", slug, err)
	}
	return s, nil
}

// save replaces the state as a whole or not at all.
func (d *Deployer) save(slug string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keep state of app %s: %w", slug, err)
	}
	path := d.statePath(slug)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep state of app %s: %w", slug, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keep state of app %s: %w", slug, err)
	}
	return os.Rename(path+".new", path)
}

// choosePort gives a release a port and remembers it before it is used. One it had is kept if keep says that the
// release listens there, or if nobody does.
func (d *Deployer) choosePort(slug, release string, spec savedSpec, listening bool) (int, error) {
	d.ports.Lock()
	defer d.ports.Unlock()
	s, err := d.load(slug)
	if err != nil {
		return 0, err
	}
	port := s.Ports[release]
	if port == 0 || !listening && !isFree(port) {
		if port, err = d.freePort(slug + "@" + release); err != nil {
			return 0, err
		}
	}
	s.Ports[release], s.Specs[release] = port, spec
	return port, d.save(slug, s)
}

// freePort finds a port no release on this host has. The search begins at a place that depends on the name, so that
// two agents on one host seldom meet.
func (d *Deployer) freePort(name string) (int, error) {
	taken := map[int]bool{}
	entries, err := os.ReadDir(d.o.StateDir)
	if err != nil {
		return 0, fmt.Errorf("choose a port: %w", err)
	}
	for _, e := range entries {
		if slug, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			s, err := d.load(slug)
			if err != nil {
				return 0, err
			}
			for _, p := range s.Ports {
				taken[p] = true
			}
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.o.StateDir + name))
	count := d.o.LastPort - d.o.FirstPort + 1
	start := int(h.Sum32()) % count
	for i := range count {
		p := d.o.FirstPort + (start+i)%count
		if !taken[p] && isFree(p) {
			return p, nil
		}
	}
	return 0, fault.Exhausted("no port between %d and %d is free on this host", d.o.FirstPort, d.o.LastPort)
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // closed at once
	if err != nil {
		return false
	}
	return l.Close() == nil
}
