package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// source is a state that is some bytes.
type source struct {
	state    string
	barriers atomic.Int32
	fails    atomic.Bool
}

var errSource = errors.New("no majority")

func (s *source) Barrier(context.Context) error {
	s.barriers.Add(1)
	if s.fails.Load() {
		return errSource
	}
	return nil
}

func (s *source) WriteSnapshot(w io.Writer) error {
	_, err := io.WriteString(w, s.state)
	return err
}

func written(t *testing.T, state string) (string, []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := To(t.Context(), &source{state: state}, &out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "b")
	save(t, path, out.Bytes())
	return path, out.Bytes()
}

func save(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBody_IsWhatWasWritten(t *testing.T) {
	for _, state := range []string{"", "state", strings.Repeat("much of it ", 1<<17)} {
		path, _ := written(t, state)
		body, err := Body(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || string(got) != state {
			t.Errorf("got %d bytes of %d, %v", len(got), len(state), err)
		}
	}
}

func TestBody_RefusesEveryCutAndEveryChange(t *testing.T) {
	path, raw := written(t, "the state of it all")
	for cut := range raw {
		save(t, path, raw[:cut])
		if _, err := Body(path); err == nil {
			t.Fatalf("cut to %d of %d bytes, and taken", cut, len(raw))
		}
	}
	for at := range raw {
		changed := bytes.Clone(raw)
		changed[at] ^= 1
		save(t, path, changed)
		if _, err := Body(path); err == nil {
			t.Fatalf("byte %d of %d changed, and taken", at, len(raw))
		}
	}
	save(t, path, append(bytes.Clone(raw), 'x'))
	if _, err := Body(path); err == nil {
		t.Error("something was appended, and it is taken")
	}
}

func TestBody_SaysWhatIsWrong(t *testing.T) {
	path, raw := written(t, strings.Repeat("state", 100))
	for want, data := range map[string][]byte{
		"cut short":    raw[:len(raw)-40],
		"is damaged":   bytes.Replace(raw, []byte("statestate"), []byte("statesTate"), 1),
		"newer form":   bytes.Replace(raw, []byte("backup 1"), []byte("backup 2"), 1),
		"is no backup": []byte("SQLite format 3"),
	} {
		save(t, path, data)
		if _, err := Body(path); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) == fault.KindInternal {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestTo_WritesNothingWithoutAMajority(t *testing.T) {
	s, out := &source{}, bytes.Buffer{}
	s.fails.Store(true)
	if err := To(t.Context(), s, &out); !errors.Is(err, errSource) || out.Len() != 0 {
		t.Errorf("got %d bytes, %v", out.Len(), err)
	}
}

func TestDirectory_NamesOnlyWhatIsWhole(t *testing.T) {
	d := directory(filepath.Join(t.TempDir(), "new", "backups"))
	conform(t, d)
	info, err := os.Stat(filepath.Join(string(d), "kept"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read a backup: %v, %v", info.Mode(), err)
	}
}

// conform is what every target does.
func conform(t *testing.T, target Target) {
	t.Helper()
	put := func(name, content string, fails error) error {
		return target.Put(t.Context(), name, func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return errors.Join(err, fails)
		})
	}
	if names, err := target.Names(t.Context()); err != nil || len(names) != 0 {
		t.Fatalf("a new place: %v, %v", names, err)
	}
	broken := errors.New("broke")
	if err := put("half", strings.Repeat("h", 1<<20), broken); !errors.Is(err, broken) {
		t.Errorf("a write that failed: %v", err)
	}
	for _, content := range []string{"first", "second"} {
		if err := put("kept", content, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(put("gone", "x", nil), target.Delete(t.Context(), "gone"), target.Delete(t.Context(), "gone")); err != nil {
		t.Error(err)
	}
	if names, err := target.Names(t.Context()); err != nil || !slices.Equal(names, []string{"kept"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestOpen_RefusesWhatIsNoPlace(t *testing.T) {
	credentials := filepath.Join(t.TempDir(), "c")
	save(t, credentials, []byte("[default]\n"))
	wide := filepath.Join(t.TempDir(), "wide")
	save(t, wide, nil)
	if err := os.Chmod(wide, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Place{
		{To: "relative"},
		{To: "s3://", Endpoint: "https://s3.example.com", Credentials: credentials},
		{To: "s3://bucket", Credentials: credentials},
		{To: "s3://bucket", Endpoint: "https://s3.example.com", Credentials: "/nonexistent"},
		{To: "s3://bucket", Endpoint: "https://s3.example.com", Credentials: wide},
	} {
		if _, err := Open(p); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	if _, err := Open(Place{To: "s3://bucket/p", Endpoint: "https://s3.example.com", Credentials: credentials}); err != nil {
		t.Error(err)
	}
}

func schedule(dir string, s *source) *Schedule {
	return NewSchedule(ScheduleOptions{
		Engine: s, Cluster: "clu_1", Target: directory(dir), Every: time.Hour, Keep: 3, Log: slog.New(slog.DiscardHandler),
	})
}

// lead runs a schedule for a while, as one term of a leader.
func lead(t *testing.T, s *Schedule, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.RunTerm(ctx); err != nil {
		t.Error(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	all, err := directory(dir).Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSchedule_KeepsTheLastAndLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	other := Name("clu_2", time.Unix(0, 0))
	save(t, filepath.Join(dir, other), nil)
	save(t, filepath.Join(dir, "notes.txt"), nil)
	synctest.Test(t, func(t *testing.T) {
		s := schedule(dir, &source{state: "x"})
		lead(t, s, 5*time.Hour+time.Minute)
		all := names(t, dir)
		if len(all) != 5 || !slices.Contains(all, other) || !slices.Contains(all, "notes.txt") {
			t.Errorf("got %v", all)
		}
		st := s.Status()
		if st.Err != "" || time.Since(st.LastSuccess) > 2*time.Minute || s.Notice() != "" {
			t.Errorf("got %+v", st)
		}
		if body, err := Body(filepath.Join(dir, Name("clu_1", st.LastSuccess))); err != nil {
			t.Error(err)
		} else if err := body.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSchedule_GoesOnWhereTheLeaderBeforeWas(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, second := &source{}, &source{}
		lead(t, schedule(dir, first), 10*time.Minute)
		lead(t, schedule(dir, second), 40*time.Minute)
		if first.barriers.Load() != 1 || second.barriers.Load() != 0 {
			t.Errorf("backups: %d, %d", first.barriers.Load(), second.barriers.Load())
		}
		lead(t, schedule(dir, second), 15*time.Minute)
		if second.barriers.Load() != 1 {
			t.Errorf("no backup after an hour")
		}
	})
}

func TestSchedule_TellsAFailureAndTriesAgainWithPauses(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		src.fails.Store(true)
		s := schedule(dir, src)
		var wg sync.WaitGroup
		wg.Go(func() { lead(t, s, 8*time.Minute) }) // tries at 0, 1, 3 and 7 minutes
		<-time.After(2 * time.Minute)
		if !strings.Contains(s.Notice(), "no majority") || s.Status().Next.Before(time.Now()) {
			t.Errorf("got %+v, %q", s.Status(), s.Notice())
		}
		wg.Wait()
		if n := src.barriers.Load(); n != 4 {
			t.Errorf("tried %d times", n)
		}
		if s.Status().LastFailure.IsZero() || s.Notice() != "" { // another leads now
			t.Errorf("got %+v, %q", s.Status(), s.Notice())
		}
		src.fails.Store(false)
		lead(t, s, time.Minute)
		if s.Notice() != "" || len(names(t, dir)) != 1 {
			t.Errorf("got %q, %v", s.Notice(), names(t, dir))
		}
	})
}

func TestDirectory_WritesToNoFileThatOthersPutInItsWay(t *testing.T) {
	dir, theirs := t.TempDir(), filepath.Join(t.TempDir(), "theirs")
	save(t, theirs, []byte("untouched"))
	if err := os.Symlink(theirs, filepath.Join(dir, "linked.part")); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "wide.part"), nil)
	if err := os.Chmod(filepath.Join(dir, "wide.part"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"linked", "wide"} {
		write := func(w io.Writer) error { _, err := io.WriteString(w, "the state"); return err }
		if err := directory(dir).Put(t.Context(), name, write); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if got, err := os.ReadFile(theirs); err != nil || string(got) != "untouched" {
		t.Errorf("got %q, %v", got, err)
	}
}
