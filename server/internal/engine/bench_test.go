package engine_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// BenchmarkPropose measures durable, applied commands: the creation of tasks by some callers at once.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			e := enginetest.New(b)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						task := gestor.Task{ID: gestor.TaskID(fmt.Sprint("tsk_", i)), Kind: gestor.TaskDetect}
						op := command.Command{Actor: enginetest.Actor(), Op: command.CreateTask{Task: task}}
						if _, err := e.Propose(b.Context(), op); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// BenchmarkPropose_Audited measures what an entry of the audit log costs: none, one without a hash as in states of level 1,
// and one in the chain.
func BenchmarkPropose_Audited(b *testing.B) {
	for _, c := range []struct {
		name, action string
		level        uint32
	}{{"none", "", 2}, {"without hash", "task.create", 1}, {"chained", "task.create", 2}} {
		b.Run(c.name, func(b *testing.B) {
			e := enginetest.New(b)
			system := gestor.SystemActor("bench")
			if c.level > 1 {
				enginetest.Propose(b, e, system, command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", Level: command.Level}})
				enginetest.Propose(b, e, system, command.RaiseLevel{Level: c.level})
			}
			actor := enginetest.Actor()
			actor.Action = c.action
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 512 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						task := gestor.Task{ID: gestor.TaskID(fmt.Sprint("tsk_", i)), Kind: gestor.TaskDetect}
						if _, err := e.Propose(b.Context(), command.Command{Actor: actor, Op: command.CreateTask{Task: task}}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
