// Package metric tells what this host is and how busy it is, from /proc and by asking the tools for their versions. It
// keeps nothing and sends nothing.
package metric

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const (
	toolTimeout = 3 * time.Second
	factsFresh  = 5 * time.Minute
	toolOutput  = 4 << 10
)

// FactsOptions say what the agent knows of itself.
type FactsOptions struct {
	Version    string
	DeployRoot string
	Supervisor string // "systemd" or "builtin"
	Sandbox    string // "systemd", "namespaces" or "process"
	Forbidden  []string
}

// Facts collects what the host is. It is safe for concurrent use.
type Facts struct {
	o FactsOptions

	mu    sync.Mutex // guards what follows, and lets one collect at a time
	last  *gestorv1.NodeFacts
	taken time.Time
}

// NewFacts returns a collector.
func NewFacts(o FactsOptions) *Facts { return &Facts{o: o} }

// Get returns the facts, at most five minutes old. What cannot be found out is empty.
func (f *Facts) Get(ctx context.Context) *gestorv1.NodeFacts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil || time.Since(f.taken) > factsFresh {
		f.last, f.taken = f.collect(ctx), time.Now()
	}
	return f.last
}

func (f *Facts) collect(ctx context.Context) *gestorv1.NodeFacts {
	hostname, _ := os.Hostname()
	_, memoryTotal := memory("/proc")
	_, disk := diskOf(f.o.DeployRoot)
	tools := toolVersions(ctx)
	return &gestorv1.NodeFacts{
		Hostname: hostname, Os: runtime.GOOS, Arch: runtime.GOARCH, Distribution: distribution("/etc/os-release"),
		Kernel: firstLine("/proc/sys/kernel/osrelease"), Cpus: int32(runtime.NumCPU()),
		CpuModel: cpuModel("/proc/cpuinfo"), MemoryBytes: memoryTotal, DiskBytes: disk, AgentVersion: f.o.Version,
		Supervisor: f.o.Supervisor, Sandbox: f.o.Sandbox, Tools: tools, Warnings: f.warnings(tools),
		BootedAt: bootedAt("/proc/stat"), Addresses: addresses(), ForbiddenKinds: f.o.Forbidden,
	}
}

// BootID is the id of the host's present boot.
func BootID() string { return firstLine("/proc/sys/kernel/random/boot_id") }

func (f *Facts) warnings(tools map[string]string) []string {
	var all []string
	if tools["nginx"] == "" {
		all = append(all, "nginx is not installed, so apps cannot be served: apt-get install nginx")
	}
	if tools["git"] == "" {
		all = append(all, "git is not installed, so nothing can be built here: apt-get install git")
	}
	if f.o.Sandbox == "process" {
		all = append(all, "neither systemd nor user namespaces can be used, so builds are confined weakly: run the agent under systemd")
	}
	return all
}

type tool struct {
	name string
	argv []string
}

func tools() []tool {
	return []tool{
		{"git", []string{"git", "--version"}},
		{"nginx", []string{"nginx", "-v"}},
		{"node", []string{"node", "--version"}},
		{"npm", []string{"npm", "--version"}},
		{"php", []string{"php", "--version"}},
		{"mariadb", []string{"mariadb", "--version"}},
		{"python3", []string{"python3", "--version"}},
		{"docker", []string{"docker", "--version"}},
	}
}

func toolVersions(ctx context.Context) map[string]string {
	var mu sync.Mutex
	found := map[string]string{}
	var group sync.WaitGroup
	for _, t := range tools() {
		group.Go(func() {
			if v := version(ctx, t.argv); v != "" {
				mu.Lock()
				found[t.name] = v
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return found
}

// version runs a tool that is installed in a usual place; nothing if it is not, or does not answer in time.
func version(ctx context.Context, argv []string) string {
	path := lookup(argv[0])
	if path == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, path, argv[1:]...) //nolint:gosec // from a list of ours
	command.Env = []string{"PATH=" + strings.Join(places(), ":"), "HOME=/nonexistent", "LC_ALL=C"}
	command.Dir = "/"
	command.WaitDelay = time.Second
	out, err := command.CombinedOutput()
	if err != nil {
		return ""
	}
	return findVersion(out[:min(len(out), toolOutput)])
}

func findVersion(out []byte) string {
	return string(regexp.MustCompile(`\d+\.\d+(\.\d+)?`).Find(out))
}

func places() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

func lookup(name string) string {
	for _, dir := range places() {
		info, err := os.Stat(dir + "/" + name)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return dir + "/" + name
		}
	}
	return ""
}

func distribution(path string) string { return valueOf(path, "PRETTY_NAME=", `"`) }
func cpuModel(path string) string     { return strings.TrimLeft(valueOf(path, "model name", ""), "\t: ") }

func valueOf(path, prefix, trim string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			return strings.Trim(v, trim)
		}
	}
	return ""
}

func bootedAt(path string) *timestamppb.Timestamp {
	seconds, err := strconv.ParseInt(strings.TrimSpace(valueOf(path, "btime ", "")), 10, 64)
	if err != nil {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: seconds}
}

// addresses leaves out loopback and link-local ones, which nobody else can use.
func addresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var texts []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			texts = append(texts, n.IP.String())
		}
	}
	slices.Sort(texts)
	return texts
}
