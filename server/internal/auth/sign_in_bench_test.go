package auth_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/auth"
)

// BenchmarkSignIns is how many sign-ins a server checks in a second, and the memory they take at most however many come at
// once.
func BenchmarkSignIns(b *testing.B) {
	p := auth.NewPasswords(2)
	phc, err := p.Hash(b.Context(), "correct horse battery")
	if err != nil {
		b.Fatal(err)
	}
	var most atomic.Uint64
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	b.SetParallelism(50)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if ok, err := p.Verify(b.Context(), phc, "correct horse battery"); err != nil || !ok {
				b.Error(ok, err)
			}
		}
	})
	b.StopTimer()
	close(done)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	b.ReportMetric(float64(most.Load())/(1<<20), "MiB-at-most")
}
