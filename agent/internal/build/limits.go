package build

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/agent/internal/process"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// limits are the ceilings of a build; Time is that of the whole build.
type limits struct{ process.Limits }

// limitsOf fills in what an app leaves open.
func limitsOf(l *gestorv1.Limits) limits {
	out := process.Limits{
		MemoryBytes: l.GetMemoryBytes(), CPUs: l.GetCpus(), Processes: int(l.GetProcesses()),
		Time: l.GetTime().AsDuration(), DiskBytes: l.GetDiskBytes(),
	}
	if out.MemoryBytes == 0 {
		out.MemoryBytes = min(hostMemory()/2, 4<<30)
	}
	if out.Processes == 0 {
		out.Processes = process.DefaultProcesses
	}
	if out.Time == 0 {
		out.Time = 15 * time.Minute
	}
	if out.DiskBytes == 0 {
		out.DiskBytes = 10 << 30
	}
	return limits{out}
}

// forFetch leaves git enough memory whatever the build gets.
func (l limits) forFetch() process.Limits {
	out := l.Limits
	out.MemoryBytes = max(out.MemoryBytes, 512<<20)
	return out
}

func hostMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 2 << 30
	}
	return info.Totalram * uint64(info.Unit)
}
