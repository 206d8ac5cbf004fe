package agent

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/agent/internal/task"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// ceiling holds builds to the limits of the host's own configuration, whatever the servers allow.
type ceiling struct {
	task.Executor
	most config.Build
}

func (c ceiling) Run(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	if t.Spec.GetBuild() != nil {
		spec := proto.CloneOf(t.Spec)
		spec.GetBuild().Limits = lower(spec.GetBuild().GetLimits(), c.most)
		t.Spec = spec
	}
	return c.Executor.Run(ctx, t, out)
}

// lower returns limits that are no higher than most, in which 0 sets none.
func lower(l *gestorv1.Limits, most config.Build) *gestorv1.Limits {
	if l == nil {
		l = &gestorv1.Limits{}
	}
	l.MemoryBytes = least(l.GetMemoryBytes(), uint64(most.MemoryMB)<<20)
	l.DiskBytes = least(l.GetDiskBytes(), uint64(most.DiskMB)<<20)
	l.Cpus = least(l.GetCpus(), float64(most.CPUPercent)/100)
	l.Processes = least(l.GetProcesses(), int32(min(most.Processes, 100_000)))
	if d := least(l.GetTime().AsDuration(), time.Duration(most.Minutes)*time.Minute); d > 0 {
		l.Time = durationpb.New(d)
	}
	return l
}

// least is the lower of two limits of which 0 means none.
func least[T cmp.Ordered](a, b T) T {
	var none T
	if a == none || b != none && b < a {
		return b
	}
	return a
}
