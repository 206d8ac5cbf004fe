package audit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (w *world) archive(years int) *Archive {
	return NewArchive(ArchiveOptions{
		Engine: w, Blobs: w.blobs, Years: years, Dir: w.t.TempDir(), Now: func() time.Time { return time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC) },
	})
}

func (w *world) years() []gestor.AuditYear {
	w.t.Helper()
	years, err := w.system().AuditYears(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return years
}

// left is how many entries are in the state.
func (w *world) left() int {
	w.t.Helper()
	all, err := w.system().AuditAfter(w.t.Context(), 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

func TestArchive_TakesYearsThatAreOldEnoughAndNoOthers(t *testing.T) {
	w := newWorld(t)
	before, _ := verdict(t, w.system(), w.blobs, nil)
	if err := w.archive(5).Round(t.Context()); err != nil || w.years()[0].Digest != "" || len(before) > 0 {
		t.Fatalf("a year that is not old enough was archived: %v", err)
	}
	if err := w.archive(2).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	years := w.years()
	if years[0].Digest == "" || years[1].Digest != "" || years[0].ArchivedAt.IsZero() {
		t.Fatalf("got %+v", years)
	}
	if needed, err := deploy.NeededArtifacts(t.Context(), w.system()); err != nil || !needed[years[0].Digest] {
		t.Errorf("the archive does not stay: %v, %v", needed, err)
	}
	if n := w.left(); n != 9 { // 8 of the years that stay, and one about the archive
		t.Errorf("%d entries are left", n)
	}
	var objects []string
	err := ReadArchive(w.blobs, years[0], func(l *auditlog.Line) error {
		objects = append(objects, l.Object)
		return nil
	})
	if err != nil || strings.Join(objects, " ") != "app_0 app_1 app_2 app_3" {
		t.Errorf("got %v, %v", objects, err)
	}
	found, last := verdict(t, w.system(), w.blobs, nil)
	if len(found) > 0 || last.Checked != 13 {
		t.Errorf("found %v in %+v", found, last)
	}
	if err := w.archive(2).Round(t.Context()); err != nil || w.years()[0].Digest != years[0].Digest || w.left() != 9 {
		t.Errorf("again, it did something: %v", err)
	}
}

func TestArchive_GoesOnWhereItWasStopped(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("the leader is gone")
	stops := map[string]func(op command.Op) error{
		"before it is noted": func(op command.Op) error {
			if _, ok := op.(command.ArchiveAudit); ok {
				return broken
			}
			return nil
		},
		"before the entries go": func(op command.Op) error {
			if _, ok := op.(command.DropAudit); ok {
				return broken
			}
			return nil
		},
	}
	for _, name := range []string{"before it is noted", "before the entries go"} {
		w.fail = stops[name]
		if err := w.archive(1).Round(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("%s: %v", name, err)
		}
		w.fail = nil
		if found, _ := verdict(t, w.system(), w.blobs, nil); len(found) > 0 {
			t.Errorf("%s: found %v", name, found)
		}
	}
	if n := w.left(); n != 13 {
		t.Errorf("%d entries are left before all was noted", n)
	}
	if err := w.archive(1).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if years := w.years(); years[1].Digest == "" || years[2].Digest != "" {
		t.Errorf("got %+v", years)
	}
	if found, last := verdict(t, w.system(), w.blobs, nil); len(found) > 0 || last.Total != last.Checked {
		t.Errorf("found %v in %+v", found, last)
	}
}

func TestArchive_LeavesALogAloneThatIsDamaged(t *testing.T) {
	w := newWorld(t)
	other := &world{t: t, store: w.store, fsm: w.fsm, index: w.index, blobs: w.blobs}
	a := NewArchive(ArchiveOptions{Engine: other, Blobs: w.blobs, Dir: t.TempDir()})
	y := w.years()[0]
	y.Previous = auditlog.Hash(bytes.Repeat([]byte{1}, auditlog.Size))
	if err := a.write(t.Context(), y, io.Discard); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

// damaged serves other bytes than were stored.
type damaged struct{ Blobs }

func (d damaged) Get(digest string, offset int64) (io.ReadCloser, error) {
	r, err := d.Blobs.Get(digest, offset)
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(r)
	all[len(all)/2] ^= 1
	return io.NopCloser(bytes.NewReader(all)), errors.Join(err, r.Close())
}

func TestCheck_FindsAnArchiveThatIsDamagedOrGone(t *testing.T) {
	w := newWorld(t)
	if err := w.archive(2).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, _ := verdict(t, w.system(), damaged{w.blobs}, nil)
	if len(found) == 0 || found[0].Seq != 1 {
		t.Errorf("found %v", found)
	}
	if err := w.blobs.Delete(w.years()[0].Digest); err != nil {
		t.Fatal(err)
	}
	if found, _ := verdict(t, w.system(), w.blobs, nil); len(found) != 1 || !strings.Contains(found[0].What, "2024") {
		t.Errorf("found %v", found)
	}
	if err := ReadArchive(w.blobs, w.years()[0], func(*auditlog.Line) error { return nil }); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}
