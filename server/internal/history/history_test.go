package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

const id = "tsk_abcdef"

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func open(t testing.TB, o history.Options) *history.Store {
	t.Helper()
	s, err := history.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// lines from..to of a source, with their number as text.
func lines(from, to int) []*gestorv1.LogLine {
	var out []*gestorv1.LogLine
	for i := from; i <= to; i++ {
		out = append(out, &gestorv1.LogLine{Seq: uint64(i), Text: fmt.Sprint(i)})
	}
	return out
}

func push(t testing.TB, s *history.Store, source string, ls []*gestorv1.LogLine, eof bool) uint64 {
	t.Helper()
	acked, err := s.Append(context.Background(), id, source, ls, eof)
	if err != nil {
		t.Fatal(err)
	}
	return acked
}

// text of everything a tail gives, and a check that numbers rise.
func text(t testing.TB, s *history.Store, o history.TailOptions) string {
	t.Helper()
	var out []string
	var last uint64
	for batch, err := range s.Tail(context.Background(), id, o) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range batch {
			if l.GetSeq() <= last {
				t.Fatalf("line %d after line %d", l.GetSeq(), last)
			}
			last = l.GetSeq()
			out = append(out, l.GetText())
		}
	}
	return strings.Join(out, " ")
}

func TestAppend_StoresEachLineOnce(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	if got := push(t, s, "a", lines(1, 3), false); got != 3 {
		t.Fatalf("acked %d", got)
	}
	if got := push(t, s, "a", lines(2, 5), false); got != 5 {
		t.Fatalf("acked %d", got)
	}
	if got := push(t, s, "a", lines(1, 4), false); got != 5 {
		t.Fatalf("acked %d for old lines", got)
	}
	if got := text(t, s, history.TailOptions{}); got != "1 2 3 4 5" {
		t.Fatalf("log = %q", got)
	}
}

func TestAppend_NumbersLinesByAttemptAndCount(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	push(t, s, "n/1", lines(1, 3), true)
	if got := push(t, s, "m/2", lines(1, 2), true); got != 2 {
		t.Fatalf("acked %d of the second source", got)
	}
	if got := text(t, s, history.TailOptions{After: 1<<40 + 2}); got != "3 1 2" {
		t.Fatalf("log = %q", got)
	}
	if got := text(t, s, history.TailOptions{After: 2<<40 + 1}); got != "2" {
		t.Fatalf("log = %q", got)
	}
}

func TestTail_ReadsAttemptsInOrderAndShowsLateLinesToFollowers(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	push(t, s, "n/1", lines(1, 2), false)
	push(t, s, "n/2", lines(1, 1), false)
	push(t, s, "n/1", lines(3, 3), false)
	if got := text(t, s, history.TailOptions{}); got != "1 2 3 1" {
		t.Fatalf("log = %q", got)
	}
	if got := text(t, s, history.TailOptions{Last: 2}); got != "3 1" {
		t.Fatalf("the last two = %q", got)
	}
	for skip, want := range map[bool]string{false: "late 2", true: "2"} {
		next, ended := make(chan struct{}), make(chan struct{})
		o := history.TailOptions{Follow: true, After: 2<<40 + 1, SkipLate: skip, Ended: ended}
		got := make(chan string)
		go func() {
			var out []string
			for batch := range s.Tail(t.Context(), "tsk_late"+fmt.Sprint(skip), o) {
				for _, l := range batch {
					if l.GetText() == "first" {
						close(next)
						continue
					}
					out = append(out, l.GetText())
				}
			}
			got <- strings.Join(out, " ")
		}()
		add := func(source string, seq uint64, text string, eof bool) {
			t.Helper()
			line := &gestorv1.LogLine{Seq: seq, Text: text}
			if _, err := s.Append(t.Context(), "tsk_late"+fmt.Sprint(skip), source, []*gestorv1.LogLine{line}, eof); err != nil {
				t.Fatal(err)
			}
		}
		add("n/2", 1, "seen", false)
		add("n/3", 1, "first", false)
		<-next // the reader follows now
		close(ended)
		add("n/1", 1, "late", false)
		add("n/3", 2, "2", true)
		if g := <-got; g != want {
			t.Errorf("skip late %v: %q, want %q", skip, g, want)
		}
	}
}

func TestAppend_MarksGapsThatNobodyAnnounced(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	push(t, s, "a", lines(1, 1), false)
	push(t, s, "a", lines(5, 5), false)
	if got := text(t, s, history.TailOptions{}); got != "1 3 lines are missing here 5" {
		t.Fatalf("log = %q", got)
	}
	announced := &gestorv1.LogLine{Seq: 9, Stream: gestorv1.LogStream_LOG_STREAM_GESTOR, Text: "dropped"}
	push(t, s, "a", []*gestorv1.LogLine{announced}, false)
	if got := text(t, s, history.TailOptions{After: 5}); got != "dropped" {
		t.Fatalf("log = %q", got)
	}
}

func TestTail_GivesTheLastLines(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	for i := 1; i <= 30; i += 3 {
		push(t, s, "a", lines(i, i+2), false)
	}
	for last, want := range map[int]string{1: "30", 4: "27 28 29 30", 100: text(t, s, history.TailOptions{})} {
		if got := text(t, s, history.TailOptions{Last: last}); got != want {
			t.Errorf("last %d = %q, want %q", last, got, want)
		}
	}
}

func TestTail_FollowsToTheEnd(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	got := make(chan string)
	ended := make(chan struct{})
	go func() { got <- text(t, s, history.TailOptions{Follow: true, Ended: ended}) }()
	push(t, s, "n/1", lines(1, 2), true)
	push(t, s, "n/2", lines(1, 2), false)
	close(ended)
	push(t, s, "n/2", lines(3, 3), true)
	if g := <-got; g != "1 2 1 2 3" {
		t.Fatalf("tail = %q", g)
	}
}

func TestTail_StopsWithTheStore(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	push(t, s, "a", lines(1, 1), false)
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for range s.Tail(context.Background(), id, history.TailOptions{Follow: true}) {
			close(first)
		}
	}()
	<-first
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestTail_SlowReaderDoesNotSlowTheWriterAndMissesNothing(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	push(t, s, "a", lines(1, 1), false)
	stuck, resume := make(chan struct{}), make(chan struct{})
	count := make(chan int)
	go func() {
		n := 0
		for batch := range s.Tail(context.Background(), id, history.TailOptions{Follow: true}) {
			if n == 0 {
				close(stuck)
				<-resume
			}
			n += len(batch)
		}
		count <- n
	}()
	<-stuck
	for i := 2; i <= 5000; i += 10 {
		push(t, s, "a", lines(i, i+9), false)
	}
	push(t, s, "a", nil, true)
	close(resume)
	if n := <-count; n != 5001 {
		t.Fatalf("read %d lines", n)
	}
}

func TestOpen_CutsOffATornEnd(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"half a frame":  func(b []byte) []byte { return append(b, b[:20]...) },
		"half a header": func(b []byte) []byte { return append(b, 1, 2, 3) },
		"zeroes":        func(b []byte) []byte { return append(b, make([]byte, 100)...) },
		"a flipped bit": func(b []byte) []byte { c := slices.Concat(b, b); c[len(c)-1] ^= 1; return c },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, history.Options{Dir: dir})
			push(t, s, "a", lines(1, 3), false)
			_ = s.Close()
			file := filepath.Join(dir, "ef", id+".log")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, history.Options{Dir: dir})
			if got := text(t, s, history.TailOptions{}); got != "1 2 3" {
				t.Fatalf("log = %q", got)
			}
			if got := push(t, s, "a", lines(3, 4), false); got != 4 {
				t.Fatalf("acked %d", got)
			}
			if got := text(t, s, history.TailOptions{}); got != "1 2 3 4" {
				t.Fatalf("log = %q", got)
			}
		})
	}
}

func TestPrune_CompressesAndStillReadsAndAppends(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Now()}
	s := open(t, history.Options{Dir: dir, Now: c.now})
	push(t, s, "a", lines(1, 200), true)
	c.add(time.Hour)
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ef", id+".log.zst")); err != nil {
		t.Fatalf("not compressed: %v", err)
	}
	if got := text(t, s, history.TailOptions{Last: 2, Follow: true}); got != "199 200" {
		t.Fatalf("log = %q", got)
	}
	if got := push(t, s, "a", lines(200, 201), true); got != 201 {
		t.Fatalf("acked %d", got)
	}
	if got := text(t, s, history.TailOptions{After: 198}); got != "199 200 201" {
		t.Fatalf("log = %q", got)
	}
}

func TestPrune_CompressesWhatAnEarlierProcessLeft(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Now()}
	s := open(t, history.Options{Dir: dir, Now: c.now})
	push(t, s, "a", lines(1, 3), false)
	_ = s.Close()
	s = open(t, history.Options{Dir: dir, Now: c.now})
	c.add(time.Hour)
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ef", id+".log")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("still plain: %v", err)
	}
	if got := text(t, s, history.TailOptions{}); got != "1 2 3" {
		t.Fatalf("log = %q", got)
	}
}

func TestPrune_DeletesByAge(t *testing.T) {
	c := &clock{at: time.Now()}
	s := open(t, history.Options{Dir: t.TempDir(), Now: c.now, MaxAge: 24 * time.Hour})
	push(t, s, "a", lines(1, 3), true)
	c.add(25 * time.Hour)
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.add(25 * time.Hour) // compressing made the file young again
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, s, history.TailOptions{}); got != "" {
		t.Fatalf("log = %q", got)
	}
}

func TestAppend_SaysThatTheDiskIsFullAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, history.Options{Dir: dir})
	push(t, s, "a", lines(1, 3), false)
	big := lines(4, 4)
	big[0].Text = strings.Repeat("x", 128<<10)
	if _, err := s.Append(t.Context(), id, "a", big, false); !errors.Is(err, fault.KindExhausted) {
		t.Fatalf("err = %v", err)
	}
	if got := push(t, s, "a", lines(4, 5), false); got != 5 {
		t.Fatalf("acked %d", got)
	}
	if got := text(t, s, history.TailOptions{}); got != "1 2 3 4 5" {
		t.Fatalf("log = %q", got)
	}
}

func TestAppend_StopsAtTheLimitOfALogAndSaysSo(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir(), MaxLog: 100})
	push(t, s, "a", lines(1, 50), false)
	for i := 51; i < 60; i++ {
		if got := push(t, s, "a", lines(i, i), false); got != uint64(i) {
			t.Fatalf("acked %d of %d", got, i)
		}
	}
	if got := text(t, s, history.TailOptions{Last: 2}); !strings.HasPrefix(got, "50 the log has reached") {
		t.Fatalf("log = %q", got)
	}
}

func TestAppend_RefusesIdsThatAreNotFileNames(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	for _, bad := range []string{"", "..", "../../etc/passwd", "a/b", strings.Repeat("x", 101)} {
		if _, err := s.Append(t.Context(), bad, "a", lines(1, 1), false); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q: err = %v", bad, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, history.Options{Dir: b.TempDir(), MaxLog: 64 << 30})
	line := strings.Repeat("x", 100)
	chunk := make([]*gestorv1.LogLine, 500)
	seq := uint64(0)
	for b.Loop() {
		for i := range chunk {
			seq++
			chunk[i] = &gestorv1.LogLine{Seq: seq, Text: line}
		}
		push(b, s, "a", chunk, false)
	}
	b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "lines/s")
}
