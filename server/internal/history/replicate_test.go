package history_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// take stores lines and returns what another server would get.
func take(t testing.TB, s *history.Store, source string, ls []*gestorv1.LogLine, eof bool) history.Batch {
	t.Helper()
	b, err := s.Take(t.Context(), id, source, ls, eof)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func replicate(t testing.TB, s *history.Store, b history.Batch) uint64 {
	t.Helper()
	acked, err := s.Replicate(t.Context(), id, b)
	if err != nil {
		t.Fatal(err)
	}
	return acked
}

func TestReplicate_StoresNothingBehindAHole(t *testing.T) {
	a, b := open(t, history.Options{Dir: t.TempDir()}), open(t, history.Options{Dir: t.TempDir()})
	first := take(t, a, "n/1", lines(1, 3), false)
	second := take(t, a, "n/1", lines(4, 6), true)
	if got := replicate(t, b, second); got != 0 {
		t.Fatalf("acked %d with a hole", got)
	}
	if got := replicate(t, b, first); got != 3 {
		t.Fatalf("acked %d", got)
	}
	for range 2 { // twice is harmless
		if got := replicate(t, b, second); got != 6 {
			t.Fatalf("acked %d", got)
		}
	}
	if got, want := text(t, b, history.TailOptions{}), text(t, a, history.TailOptions{}); got != want {
		t.Fatalf("log = %q, want %q", got, want)
	}
}

func TestReplicate_TakesOnlyWhatIsNewOfABatch(t *testing.T) {
	a, b := open(t, history.Options{Dir: t.TempDir()}), open(t, history.Options{Dir: t.TempDir()})
	push(t, b, "n/1", lines(1, 4), false) // the agent was here before
	if got := replicate(t, b, take(t, a, "n/1", lines(1, 9), true)); got != 9 {
		t.Fatalf("acked %d", got)
	}
	if got := text(t, b, history.TailOptions{}); got != count(1, 9) {
		t.Fatalf("log = %q", got)
	}
}

func count(from, to int) string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

func TestReplicate_FollowsWhoSaysThatALogIsFull(t *testing.T) {
	a, b := open(t, history.Options{Dir: t.TempDir(), MaxLog: 100}), open(t, history.Options{Dir: t.TempDir()})
	for i := 1; i <= 60; i += 20 {
		replicate(t, b, take(t, a, "n/1", lines(i, i+19), false))
	}
	if got := push(t, b, "n/1", lines(61, 70), true); got != 70 {
		t.Fatalf("acked %d of lines that are dropped", got)
	}
	want := text(t, a, history.TailOptions{})
	if got := text(t, b, history.TailOptions{}); got != want || !strings.Contains(got, "20 the log has reached") {
		t.Fatalf("log = %q, want %q", got, want)
	}
}

func TestState_IsTheSameAtRestAndAfterARestart(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Now()}
	s := open(t, history.Options{Dir: dir, Now: c.now})
	push(t, s, "n/1", lines(1, 3), false)
	push(t, s, "n/2", lines(1, 7), true)
	want := history.State{"n/1": {Acked: 3}, "n/2": {Acked: 7, Ended: true}}
	check := func(when string) {
		t.Helper()
		if got, err := s.State(id); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: state = %v, %v", when, got, err)
		}
	}
	check("while it is written")
	_ = s.Close()
	s = open(t, history.Options{Dir: dir, Now: c.now})
	check("after a restart")
	c.add(time.Hour)
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("compressed")
	file := filepath.Join(dir, "ef", id+".log.zst")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data[:len(data)-1], 0o600); err != nil { // without what stands at its end
		t.Fatal(err)
	}
	check("compressed without its index")
	if got, err := s.State("tsk_none"); err != nil || len(got) != 0 {
		t.Errorf("state of no log = %v, %v", got, err)
	}
	if _, err := s.State("../x"); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("err = %v", err)
	}
}

func TestBatches_CopyALogToAnyOtherState(t *testing.T) {
	c := &clock{at: time.Now()}
	for _, compressed := range []bool{false, true} {
		random := rand.New(rand.NewPCG(7, 7))
		a := open(t, history.Options{Dir: t.TempDir(), Now: c.now})
		at := map[string]int{}
		for range 60 {
			source := fmt.Sprintf("n/%d", 1+random.IntN(3))
			n := 1 + random.IntN(5)
			push(t, a, source, lines(at[source]+1, at[source]+n), false)
			at[source] += n
		}
		for source, n := range at {
			push(t, a, source, lines(n, n), true)
		}
		if compressed {
			c.add(time.Hour)
			if err := a.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b := open(t, history.Options{Dir: t.TempDir(), Now: c.now})
		after := map[string]uint64{}
		for source, n := range at {
			some := random.IntN(n)
			push(t, b, source, lines(1, some), false)
			after[source] = uint64(some)
		}
		for batch, err := range a.Batches(t.Context(), id, after) {
			if err != nil {
				t.Fatal(err)
			}
			if got := replicate(t, b, batch); got != batch.Acked {
				t.Fatalf("acked %d of %s", got, batch)
			}
		}
		if got, want := text(t, b, history.TailOptions{}), text(t, a, history.TailOptions{}); got != want {
			t.Errorf("compressed %v: %q, want %q", compressed, got, want)
		}
	}
}

func TestBatchesOf_ReadsFromTheMiddleOfALongLog(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	text := strings.Repeat("x", 1000)
	const total = 6000 // some MiB
	for i := 1; i <= total; i += 10 {
		for _, source := range []string{"n/1", "m/2"} {
			var chunk []*gestorv1.LogLine
			for j := i; j < i+10; j++ {
				chunk = append(chunk, &gestorv1.LogLine{Seq: uint64(j), Text: text})
			}
			push(t, s, source, chunk, i+10 > total)
		}
	}
	for _, from := range []int{0, 5, 10, 2345, 5999, 6000} {
		next := uint64(from)
		ended := false
		for b, err := range s.BatchesOf(t.Context(), id, "m/2", uint64(from)) {
			if err != nil {
				t.Fatal(err)
			}
			if b.Source != "m/2" || b.After != next {
				t.Fatalf("from %d: %s after %d", from, b, next)
			}
			next, ended = b.Acked, b.EOF
		}
		if next != total || !ended {
			t.Errorf("from %d: read up to %d, ended %v", from, next, ended)
		}
	}
}

func TestJoin_PutsTogetherWhatFollowsEachOther(t *testing.T) {
	a, b := open(t, history.Options{Dir: t.TempDir()}), open(t, history.Options{Dir: t.TempDir()})
	batches := []history.Batch{
		take(t, a, "n/1", lines(1, 2), false), take(t, a, "n/1", lines(3, 3), false), take(t, a, "n/1", lines(4, 6), true),
	}
	if _, n := history.Join(batches, 1); n != 1 {
		t.Errorf("took %d beyond the bound", n)
	}
	if _, n := history.Join([]history.Batch{batches[0], batches[2]}, 1<<20); n != 1 {
		t.Errorf("took %d across a hole", n)
	}
	joined, n := history.Join(batches, 1<<20)
	if n != 3 || replicate(t, b, joined) != 6 {
		t.Fatalf("took %d: %s", n, joined)
	}
	if got := text(t, b, history.TailOptions{}); got != count(1, 6) {
		t.Fatalf("log = %q", got)
	}
	if len(batches[0].Lines) != 2 {
		t.Error("the first batch was changed")
	}
}

func TestKeeps_KnowsWhatHadNoRoom(t *testing.T) {
	c := &clock{at: time.Now()}
	dir := t.TempDir()
	s := open(t, history.Options{Dir: dir, Now: c.now})
	old := c.now().Add(-48 * time.Hour)
	if !s.Keeps(old) || s.Keeps(old.Add(-100*24*time.Hour)) {
		t.Fatal("a log is kept for 90 days")
	}
	line := &gestorv1.LogLine{Seq: 1<<40 + 1, At: timestamppb.New(old), Text: strings.Repeat("x", 100)}
	replicate(t, s, history.NewBatch("n/1", 0, []*gestorv1.LogLine{line}, true, false)) // fetched late: as old as its lines
	line = &gestorv1.LogLine{Seq: 1, Text: strings.Repeat("y", 100)}
	if _, err := s.Append(t.Context(), "tsk_young", "n/1", []*gestorv1.LogLine{line}, true); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = open(t, history.Options{Dir: dir, Now: c.now, TotalBytes: 200, Idle: 100 * time.Hour})
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Keeps(old) || !s.Keeps(c.now()) {
		t.Error("a log would be fetched again that had no room")
	}
	if state, err := s.State("tsk_young"); err != nil || len(state) == 0 {
		t.Errorf("the younger log was deleted: %v", err)
	}
}
