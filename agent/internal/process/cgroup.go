package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groups makes cgroups below one of its own for each agent on the host: <mount>/gestor/<instance>/{steps,apps}/<name>.
// Without usable cgroups all its methods do nothing and usable is false.
type groups struct {
	usable bool
	v2     bool
	roots  map[string]string // controller → directory of this agent; v2 has the one key ""
	log    *slog.Logger
}

const cgroupMount = "/sys/fs/cgroup"

// newGroups finds what the host has. dir tells agents on one host apart; stepMemory is the ceiling of all steps, 0 leaves it.
func newGroups(dir string, stepMemory uint64, log *slog.Logger) *groups {
	sum := sha256.Sum256([]byte(dir))
	sub := filepath.Join("gestor", hex.EncodeToString(sum[:4]))
	g := &groups{roots: map[string]string{}, log: log}
	if err := g.open(sub, stepMemory); err != nil {
		log.Warn("cgroups cannot be used, limits are weak", "err", err)
		return &groups{log: log}
	}
	g.usable = true
	return g
}

func (g *groups) open(sub string, stepMemory uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", cgroupMount, err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		g.v2 = true
		g.roots[""] = filepath.Join(cgroupMount, sub)
		if err := g.openV2(sub); err != nil {
			return err
		}
	} else {
		for _, c := range []string{"memory", "pids", "cpu"} {
			g.roots[c] = filepath.Join(cgroupMount, c, sub)
		}
	}
	for _, root := range g.roots {
		for _, part := range []string{"steps", "apps"} {
			if err := os.MkdirAll(filepath.Join(root, part), 0o755); err != nil { // as all cgroups
				return fmt.Errorf("make cgroup: %w", err)
			}
		}
	}
	if stepMemory == 0 {
		return nil
	}
	return g.limitSteps(stepMemory)
}

// openV2 hands the controllers down to the groups we make.
func (g *groups) openV2(sub string) error {
	dir := cgroupMount
	for _, part := range append(strings.Split(sub, "/"), "") {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
			return fmt.Errorf("hand controllers down from %s: %w", dir, err)
		}
		if part == "" {
			break
		}
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil { // as all cgroups
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	for _, part := range []string{"steps", "apps"} {
		d := filepath.Join(dir, part)
		if err := os.MkdirAll(d, 0o755); err != nil { // as all cgroups
			return fmt.Errorf("make cgroup: %w", err)
		}
		if err := os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
			return fmt.Errorf("hand controllers down from %s: %w", d, err)
		}
	}
	return nil
}

// limitSteps gives all steps together a ceiling and less of the processors than apps and databases get.
func (g *groups) limitSteps(memory uint64) error {
	if g.v2 {
		return errors.Join(
			g.set("", "steps", "memory.max", strconv.FormatUint(memory, 10)),
			g.set("", "steps", "cpu.weight", "20"))
	}
	return errors.Join(
		g.set("memory", "steps", "memory.limit_in_bytes", strconv.FormatUint(memory, 10)),
		g.set("cpu", "steps", "cpu.shares", "205"))
}

func (g *groups) set(controller, name, file, value string) error {
	err := os.WriteFile(filepath.Join(g.roots[controller], name, file), []byte(value), 0)
	if err != nil {
		return fmt.Errorf("set %s of cgroup %s: %w", file, name, err)
	}
	return nil
}

// group is the cgroup of one step or unit.
type group struct {
	owner *groups
	name  string
}

// make makes the cgroup name, "steps/…" or "apps/…", with its limits. One left over from before is emptied first.
func (g *groups) make(name string, l Limits) (*group, error) {
	if !g.usable {
		return nil, nil //nolint:nilnil // a nil group is one that does nothing
	}
	c := &group{owner: g, name: name}
	c.remove()
	for _, root := range g.roots {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil { // as all cgroups
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
	}
	if err := c.limit(l); err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

func (c *group) limit(l Limits) error {
	g := c.owner
	processes := strconv.Itoa(l.Processes)
	const period = 100000 // microseconds
	quota := strconv.Itoa(max(1000, int(l.CPUs*period)))
	memory := strconv.FormatUint(l.MemoryBytes, 10)
	if g.v2 {
		errs := []error{g.set("", c.name, "pids.max", processes)}
		if l.MemoryBytes > 0 {
			errs = append(errs, g.set("", c.name, "memory.max", memory))
			_ = g.set("", c.name, "memory.swap.max", "0") // not there without swap
		}
		if l.CPUs > 0 {
			errs = append(errs, g.set("", c.name, "cpu.max", quota+" "+strconv.Itoa(period)))
		}
		return errors.Join(errs...)
	}
	errs := []error{g.set("pids", c.name, "pids.max", processes)}
	if l.MemoryBytes > 0 {
		errs = append(errs, g.set("memory", c.name, "memory.limit_in_bytes", memory))
		_ = g.set("memory", c.name, "memory.memsw.limit_in_bytes", memory) // not there without swap accounting
	}
	if l.CPUs > 0 {
		errs = append(errs,
			g.set("cpu", c.name, "cpu.cfs_period_us", strconv.Itoa(period)),
			g.set("cpu", c.name, "cpu.cfs_quota_us", quota))
	}
	return errors.Join(errs...)
}

// joins lists the files a process writes itself into to join.
func (c *group) joins() []string {
	if c == nil {
		return nil
	}
	var files []string
	for _, root := range c.owner.roots {
		files = append(files, filepath.Join(root, c.name, "cgroup.procs"))
	}
	return files
}

// hit tells which ceiling the group ran into, if any.
func (c *group) hit() string {
	if c == nil {
		return ""
	}
	memory, memoryFile, pids := "memory", "memory.oom_control", "pids"
	if c.owner.v2 {
		memory, memoryFile, pids = "", "memory.events", ""
	}
	if c.counter(memory, memoryFile, "oom_kill") > 0 {
		return KilledMemory
	}
	if c.counter(pids, "pids.events", "max") > 0 {
		return KilledProcesses
	}
	return ""
}

func (c *group) counter(controller, file, key string) int {
	b, err := os.ReadFile(filepath.Join(c.owner.roots[controller], c.name, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// remove kills what is in the group and removes it. The kernel may need a moment to let go of what was killed.
func (c *group) remove() {
	if c == nil {
		return
	}
	for _, root := range c.owner.roots {
		dir := filepath.Join(root, c.name)
		deadline := time.Now().Add(5 * time.Second)
		for {
			err := unix.Rmdir(dir)
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if time.Now().After(deadline) {
				c.owner.log.Warn("cgroup was left over", "path", dir, "err", err)
				break
			}
			killGroup(dir)
			<-time.After(2 * time.Millisecond)
		}
	}
}

func killGroup(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			_ = unix.Kill(pid, syscall.SIGKILL)
		}
	}
}

// sweep ends the steps an agent that was killed left behind.
func (g *groups) sweep() error {
	if !g.usable {
		return nil
	}
	for _, root := range g.roots {
		entries, err := os.ReadDir(filepath.Join(root, "steps"))
		if err != nil {
			return fmt.Errorf("look for leftover steps: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				(&group{owner: g, name: filepath.Join("steps", e.Name())}).remove()
			}
		}
	}
	return nil
}

// halfOfMemory is half of what the host has, in bytes.
func halfOfMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30
	}
	return info.Totalram * uint64(info.Unit) / 2
}
