package metric

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Sampler measures the host's load. It is safe for concurrent use.
type Sampler struct {
	proc string // "/proc"
	disk string // a path on the file system measured

	mu          sync.Mutex // guards what follows
	busy, total uint64     // of the sample before, in ticks
}

// NewSampler returns a sampler of this host and of the file system that holds diskPath.
func NewSampler(diskPath string) *Sampler { return &Sampler{proc: "/proc", disk: diskPath} }

// Sample measures now. What cannot be read is 0.
func (s *Sampler) Sample(tasks int) *gestorv1.NodeLoad {
	used, _ := memory(s.proc)
	diskUsed, _ := diskOf(s.disk)
	return &gestorv1.NodeLoad{
		At: timestamppb.New(time.Now()), Cpu: s.cpu(), MemoryUsedBytes: used, DiskUsedBytes: diskUsed,
		Load1: load1(s.proc), Tasks: int32(tasks),
	}
}

// cpu is the busy share since the sample before; since boot for the first.
func (s *Sampler) cpu() float64 {
	busy, total := ticks(s.proc)
	s.mu.Lock()
	defer s.mu.Unlock()
	dBusy, dTotal := busy-s.busy, total-s.total
	if total <= s.total || busy < s.busy {
		return 0
	}
	s.busy, s.total = busy, total
	return min(1, float64(dBusy)/float64(dTotal))
}

// ticks reads the first line of stat: user nice system idle iowait irq softirq steal.
func ticks(proc string) (busy, total uint64) {
	line := firstLine(proc + "/stat")
	for i, f := range strings.Fields(strings.TrimPrefix(line, "cpu ")) {
		if i > 7 {
			break // guest time is in user time
		}
		n, _ := strconv.ParseUint(f, 10, 64)
		total += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, total
}

func load1(proc string) float64 {
	first, _, _ := strings.Cut(firstLine(proc+"/loadavg"), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

func firstLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	line, _ := bufio.NewReaderSize(f, 512).ReadString('\n')
	return strings.TrimSpace(line)
}

// memory returns what is in use and what there is, in bytes.
func memory(proc string) (used, total uint64) {
	f, err := os.Open(proc + "/meminfo")
	if err != nil {
		return 0, 0
	}
	defer func() { _ = f.Close() }()
	var available uint64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	return total - min(available, total), total
}

// diskOf returns what is in use and what there is on the file system with path, or with its nearest folder above that exists.
func diskOf(path string) (used, total uint64) {
	var s syscall.Statfs_t
	for syscall.Statfs(path, &s) != nil {
		i := strings.LastIndexByte(path, '/')
		if i <= 0 {
			if syscall.Statfs("/", &s) != nil {
				return 0, 0
			}
			break
		}
		path = path[:i]
	}
	block := uint64(s.Bsize)
	return (s.Blocks - s.Bfree) * block, s.Blocks * block
}
