package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// BenchmarkShareChanges measures what one changed task costs a server with many sessions, most of whose nodes hold a task.
func BenchmarkShareChanges(b *testing.B) {
	for _, sessions := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			e := enginetest.New(b)
			s := New(Options{Engine: e, Log: slog.New(slog.DiscardHandler)})
			enginetest.AddNode(b, e, "nod_0", "web-0")
			for i := range sessions {
				id := gestor.NodeID(fmt.Sprintf("nod_%d", i))
				_, cancel := context.WithCancelCause(b.Context())
				s.sessions[id] = newSession(gestor.Node{ID: id}, cancel)
			}
			enginetest.Propose(b, e, enginetest.Actor(), command.CreateTask{Task: gestor.Task{
				ID: "tsk_1", TenantID: enginetest.Tenant, Kind: gestor.TaskRetire, NodeID: "nod_0", Timeout: time.Hour, MaxAttempts: 1,
			}})
			r := enginetest.Propose(b, e, gestor.SystemActor("test"), command.LeaseTask{ID: "tsk_1", Node: "nod_0"})
			if err := s.shareAll(b.Context()); err != nil {
				b.Fatal(err)
			}
			percent := 0
			for b.Loop() {
				b.StopTimer()
				percent = (percent + 1) % 100
				enginetest.Propose(b, e, gestor.SystemActor("test"), command.ReportTask{ID: "tsk_1", Fence: r.Revision, Phase: "build", Percent: percent})
				b.StartTimer()
				if err := s.shareChanges(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReport measures a leader's second: a report of a server with ten thousand sessions, a fifth of them heard since
// the last, and the look at what has changed.
func BenchmarkReport(b *testing.B) {
	const agents = 10_000
	d, a := newDesk(), reports{id: "srv_a"}
	whole := a.next()
	for i := range agents {
		s := heardOf(uint64(i), uint64(i)<<32, 0)
		s.NodeId = fmt.Sprintf("nod_%d", i)
		whole.Sessions = append(whole.Sessions, s)
	}
	d.report(d.now, whole)
	d.settle()
	for b.Loop() {
		d.after(time.Second)
		if d.report(d.now, a.next(whole.Sessions[:agents/5]...)).resync {
			b.Fatal("not taken")
		}
		for range 5 { // a look at each wake, and one a second
			_ = d.changes(d.now)
		}
	}
}
