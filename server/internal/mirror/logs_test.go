package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

type tailer = func(context.Context, string, history.TailOptions) iter.Seq2[[]*gestorv1.LogLine, error]

func textOf(t testing.TB, tail tailer, id string) string {
	t.Helper()
	var out []string
	for batch, err := range tail(context.Background(), id, history.TailOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range batch {
			out = append(out, l.GetText())
		}
	}
	return strings.Join(out, " ")
}

func TestAppend_AcknowledgedLinesSurviveAnyOneServer(t *testing.T) {
	for dead := range 3 {
		t.Run(fmt.Sprintf("server %d dies", dead+1), func(t *testing.T) {
			c := newServers(t, 3, 3)
			c.all[0].push("tsk_one", source, 1, 50, false)
			c.all[0].push("tsk_one", source, 51, 100, true)
			c.all[dead].kill()
			for i, s := range c.all {
				if i == dead {
					continue
				}
				if got := s.read("tsk_one"); got != count(1, 100) {
					t.Errorf("%s has %q", s.id, got)
				}
			}
		})
	}
}

func TestAppend_AcknowledgesNothingWithoutAMajority(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[0].push("tsk_one", source, 1, 2, false)
	c.fabric.set("srv_1", true)
	stored, err := c.all[0].Begin(t.Context(), "tsk_one", source, lines(3, 4), false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if acked, err := stored(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("acknowledged %d, %v", acked, err)
	}
	c.fabric.set("srv_1", false)
	if acked, err := stored(t.Context()); err != nil || acked != 4 {
		t.Fatalf("acknowledged %d, %v after the partition", acked, err)
	}
}

func TestAppend_IsNotSlowedByOneServerThatIsCutOffAndBringsItUpLater(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[0].push("tsk_one", source, 1, 1, false)
	c.fabric.set("srv_3", true)
	began := time.Now()
	for i := 2; i <= 500; i++ {
		c.all[0].push("tsk_one", source, i, i, i == 500)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("500 lines took %s", took)
	}
	c.fabric.set("srv_3", false)
	eventually(t, "the server to have all lines", func() bool { return c.all[2].local("tsk_one") == count(1, 500) })
}

func TestAppend_IsNotSlowedByOneServerThatIsSlow(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[0].push("tsk_one", source, 1, 1, false)
	const lag = 150 * time.Millisecond
	c.fabric.slow("srv_2", lag)
	began := time.Now()
	const total = 300
	for i := 2; i <= total; i++ {
		c.all[0].push("tsk_one", source, i, i, i == total)
	}
	if took := time.Since(began); took > total*lag/10 {
		t.Errorf("%d lines took %s", total, took)
	}
	eventually(t, "the slow server to have all lines", func() bool { return c.all[1].local("tsk_one") == count(1, total) })
}

func TestAppend_AServerThatWasDownGetsWhatItMissed(t *testing.T) {
	c := newServers(t, 3, 3)
	c.wanted.addLog("tsk_one")
	c.wanted.addLog("tsk_two")
	c.all[0].push("tsk_one", source, 1, 10, false)
	c.all[1].kill()
	c.all[0].push("tsk_one", source, 11, 20, true)
	c.all[2].push("tsk_two", "nod_2/1", 1, 5, true)
	c.all[1].restart()
	eventually(t, "the logs to be whole", func() bool {
		return c.all[1].local("tsk_one") == count(1, 20) && c.all[1].local("tsk_two") == count(1, 5)
	})
}

func TestAppend_AnAgentThatChangesServersLeavesNoGap(t *testing.T) {
	c := newServers(t, 3, 3)
	c.fabric.set("srv_3", true)
	c.all[0].push("tsk_one", source, 1, 30, false) // on servers 1 and 2
	c.all[0].kill()
	c.fabric.set("srv_3", false)
	c.all[2].push("tsk_one", source, 31, 40, true) // goes on behind what was acknowledged
	for _, s := range c.all[1:] {
		eventually(t, s.id+" to have all lines", func() bool { return s.local("tsk_one") == count(1, 40) })
	}
}

func TestAppend_AnEndAloneComesBehindTheLinesAtAnotherServer(t *testing.T) {
	c := newServers(t, 3, 3)
	c.fabric.set("srv_3", true)
	c.all[0].push("tsk_one", source, 1, 30, false) // on servers 1 and 2
	c.all[0].kill()
	c.fabric.set("srv_3", false)
	if _, err := c.all[2].Append(t.Context(), "tsk_one", source, nil, true); err != nil {
		t.Fatal(err)
	}
	if got := c.all[2].local("tsk_one"); got != count(1, 30) {
		t.Errorf("whoever follows the log there stops behind %q", got)
	}
}

func TestAppend_MarksLinesTheHostDroppedTheSameEverywhere(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[0].push("tsk_one", source, 1, 2, false)
	c.all[1].push("tsk_one", source, 6, 7, true)
	const want = "1 2 3 lines are missing here 6 7"
	for _, s := range c.all {
		eventually(t, s.id+" to have all lines", func() bool { return s.local("tsk_one") == want })
	}
}

func TestAppend_StandbysGetEverythingAndCountForNothing(t *testing.T) {
	c := newServers(t, 4, 3)
	c.all[3].push("tsk_one", source, 1, 10, false) // a standby takes lines, too
	for _, s := range c.all {
		eventually(t, s.id+" to have all lines", func() bool { return s.local("tsk_one") == count(1, 10) })
	}
	c.fabric.set("srv_2", true)
	c.fabric.set("srv_3", true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if acked, err := c.all[0].Append(ctx, "tsk_one", source, lines(11, 11), false); err == nil {
		t.Fatalf("acknowledged %d with one voter and a standby", acked)
	}
}

func TestTail_GoesOnAtAnotherServerWithoutGapOrRepeat(t *testing.T) {
	c := newServers(t, 3, 3)
	const total = 600
	ended := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; i <= total; i += 3 {
			at := c.all[(i/100)%3] // the agent changes servers as well
			at.push("tsk_one", source, i, i+2, i+2 == total)
		}
		close(ended)
	})
	var got []string
	var after uint64
	for hop := 0; len(got) < total; hop++ {
		ctx, leave := context.WithCancel(t.Context())
		o := history.TailOptions{Follow: true, After: after, Ended: ended}
		read := 0
		for batch, err := range c.all[hop%3].Tail(ctx, "tsk_one", o) {
			if err != nil {
				break
			}
			for _, l := range batch {
				got, after = append(got, l.GetText()), l.GetSeq()
			}
			if read += len(batch); read > 40 {
				break
			}
		}
		leave()
	}
	writing.Wait()
	if text := strings.Join(got, " "); text != count(1, total) {
		t.Fatalf("read %q", text)
	}
}

// A reader goes from server to server, each of which is cut off now and then, while an agent does the same.
func TestTail_HasNeitherGapNorRepeatWhateverHappens(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newServers(t, 3, 3)
			id := fmt.Sprintf("tsk_tail%d", seed)
			var work sync.WaitGroup
			work.Go(func() { pushAtRandom(t, c, rand.New(rand.NewPCG(seed, 2)), id, 1) })
			var got []string
			work.Go(func() { got = readAtRandom(c, rand.New(rand.NewPCG(seed, 3)), id) })
			done := make(chan struct{})
			go func() { work.Wait(); close(done) }()
			faults(c, rand.New(rand.NewPCG(seed, 4)), done)
			if text := strings.Join(got, " "); text != count(1, perAttempt) {
				t.Errorf("read %q", text)
			}
		})
	}
}

// readAtRandom is a reader that stays at no server for long.
func readAtRandom(c *servers, r *rand.Rand, id string) (got []string) {
	var after uint64
	for len(got) < perAttempt {
		ctx, leave := context.WithTimeout(context.Background(), time.Duration(50+r.IntN(300))*time.Millisecond)
		for batch := range c.all[r.IntN(3)].Tail(ctx, id, history.TailOptions{Follow: true, After: after, Ended: make(chan struct{})}) {
			for _, l := range batch {
				got, after = append(got, l.GetText()), l.GetSeq()
			}
		}
		leave()
	}
	return got
}

func TestTail_OfAServerThatIsCutOffGivesWhatItHas(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[0].push("tsk_one", source, 1, 3, false)
	eventually(t, "the lines", func() bool { return c.all[2].local("tsk_one") == count(1, 3) })
	c.fabric.set("srv_3", true)
	c.all[0].push("tsk_one", source, 4, 5, true)
	if got := c.all[2].read("tsk_one"); got != count(1, 3) {
		t.Fatalf("read %q", got)
	}
}

func TestTail_GetsALogThisServerHasNothingOf(t *testing.T) {
	c := newServers(t, 3, 3)
	c.fabric.set("srv_3", true)
	c.all[0].push("tsk_one", source, 1, 3000, true)
	c.all[0].kill()
	c.all[2].kill() // forgets whom it takes for dead
	c.fabric.set("srv_3", false)
	c.all[2].restart()
	eventually(t, "the log", func() bool { return c.all[2].read("tsk_one") == count(1, 3000) })
}

// Agents of two attempts of some tasks push to servers at random, which are cut off at random; in the end every server
// gives the same.
func TestAppend_AllServersReadTheSameWhateverHappened(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newServers(t, 3, 3)
			random := rand.New(rand.NewPCG(seed, 1))
			var tasks []string
			for i := range 3 {
				tasks = append(tasks, fmt.Sprintf("tsk_%d%d", seed, i))
				c.wanted.addLog(tasks[i])
			}
			var agents sync.WaitGroup
			for i, id := range tasks {
				for attempt := 1; attempt <= 2; attempt++ {
					r := rand.New(rand.NewPCG(seed, uint64(10*i+attempt)))
					agents.Go(func() { pushAtRandom(t, c, r, id, attempt) })
				}
			}
			done := make(chan struct{})
			go func() { agents.Wait(); close(done) }()
			faults(c, random, done)
			for _, id := range tasks {
				want := count(1, perAttempt) + " " + count(1, perAttempt)
				for _, s := range c.all {
					eventually(t, s.id+" to have "+id, func() bool { return s.local(id) == want })
				}
			}
		})
	}
}

const perAttempt = 120

// pushAtRandom is an agent: it sends what is not acknowledged, here and there, and more than once.
func pushAtRandom(t *testing.T, c *servers, r *rand.Rand, id string, attempt int) {
	t.Helper()
	acked := 0
	for acked < perAttempt {
		to := min(perAttempt, acked+1+r.IntN(20))
		from := max(1, acked+1-r.IntN(5))
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		got, err := c.all[r.IntN(3)].Append(ctx, id, fmt.Sprintf("nod_1/%d", attempt), lines(from, to), to == perAttempt)
		cancel()
		if err == nil {
			acked = max(acked, min(int(got), to))
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("append: %v", err)
			return
		}
	}
}

// faults cuts one server after the other off for a moment, until done.
func faults(c *servers, r *rand.Rand, done <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		id := fmt.Sprintf("srv_%d", 1+r.IntN(3))
		c.fabric.set(id, true)
		select {
		case <-done:
			c.fabric.set(id, false)
			return
		case <-tick.C:
		}
		c.fabric.set(id, false)
		<-tick.C
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("servers=%d", n), func(b *testing.B) {
			c := newServers(b, n, n)
			text, at := strings.Repeat("x", 100), timestamppb.Now()
			const chunk, window = 500, 16
			var seq uint64
			flying := make(chan func(context.Context) (uint64, error), window)
			var acks sync.WaitGroup
			acks.Go(func() {
				for stored := range flying {
					if _, err := stored(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
			before := processorTime(b)
			for b.Loop() {
				batch := make([]*gestorv1.LogLine, chunk)
				for i := range batch {
					seq++
					batch[i] = &gestorv1.LogLine{Seq: seq, At: at, Text: text, Stream: gestorv1.LogStream_LOG_STREAM_STDOUT, Phase: "build"}
				}
				stored, err := c.all[0].Begin(b.Context(), "tsk_bench", source, batch, false)
				if err != nil {
					b.Fatal(err)
				}
				flying <- stored
			}
			close(flying)
			acks.Wait()
			b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "lines/s")
			b.ReportMetric(float64(seq)*float64(len(text))/b.Elapsed().Seconds()/1e6, "MB/s")
			b.ReportMetric(float64(processorTime(b)-before)/float64(seq), "cpu-ns/line")
		})
	}
}

// processorTime is what the process has used; unlike the wall clock it does not mind what else the machine does.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
