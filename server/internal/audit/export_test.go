package audit

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// exported is all that a scope exports, as lines.
func (w *world) exported(scope gestor.Scope, f state.AuditFilter) []auditlog.Line {
	w.t.Helper()
	var file bytes.Buffer
	out := NewJSONL(&file)
	if err := Each(w.t.Context(), w.View(scope), w.years(), w.blobs, f, out.Write); err != nil {
		w.t.Fatal(err)
	}
	var lines []auditlog.Line
	err := auditlog.Read(&file, func(l *auditlog.Line) error {
		lines = append(lines, *l)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

func problemsOf(lines []auditlog.Line, partial bool) []auditlog.Problem {
	chain := auditlog.Chain{Partial: partial}
	var found []auditlog.Problem
	for i := range lines {
		found = append(found, chain.Add(&lines[i])...)
	}
	return found
}

func TestEach_ExportsLinesThatCanBeCheckedWithoutAServer(t *testing.T) {
	w := newWorld(t)
	for range 2 { // before and after there is an archive
		all := w.exported(gestor.SystemScope(), state.AuditFilter{})
		if found := problemsOf(all, false); len(found) > 0 || len(all) < 12 {
			t.Errorf("found %v in %d lines", found, len(all))
		}
		own := w.exported(gestor.TenantScope("ten_1"), state.AuditFilter{Tenant: "ten_1"})
		if found := problemsOf(own, true); len(found) > 0 || len(own) != 6 {
			t.Errorf("found %v in %d lines of a tenant", found, len(own))
		}
		if found := problemsOf(own, false); len(found) == 0 {
			t.Error("a part passes for the whole")
		}
		own[2].Object = "app_other"
		if found := problemsOf(own, true); len(found) != 1 || found[0].Seq != own[2].Seq {
			t.Errorf("found %v", found)
		}
		if year := w.exported(gestor.SystemScope(), state.AuditFilter{Year: 2024}); len(year) != 4 || len(problemsOf(year, false)) > 0 {
			t.Errorf("the year has %d lines", len(year))
		}
		if err := w.archive(2).Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMask_LeavesOutWhatItIsAboutAndKeepsItsPlace(t *testing.T) {
	w := newWorld(t)
	all := w.exported(gestor.SystemScope(), state.AuditFilter{})
	for i := range all {
		if all[i].Tenant == "ten_1" {
			Mask(&all[i])
			if l := all[i]; l.Object != "" || l.Name != "" || len(l.Detail) > 0 || l.Actor != "usr_1" {
				t.Errorf("got %+v", l)
			}
		}
	}
	if found := problemsOf(all, false); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	moved := append(append([]auditlog.Line{}, all[:3]...), all[4:]...) // one masked line is gone
	if found := problemsOf(moved, false); len(found) == 0 {
		t.Error("a masked line that is missing was not missed")
	}
}

func TestNewCSV_HoldsNothingThatASpreadsheetRuns(t *testing.T) {
	var file bytes.Buffer
	out := NewCSV(&file)
	evil := []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "plain, \"quoted\""}
	for i, text := range evil {
		if err := out.Write(&auditlog.Line{Seq: int64(i), At: time.Unix(0, 0), Object: text, Name: text, UserAgent: text}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(file.String())).ReadAll()
	if err != nil || len(rows) != len(evil)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("a cell begins with %q", cell[0])
			}
		}
	}
	if rows[0][6] != "object" || rows[8][6] != "plain, \"quoted\"" || rows[1][6] != "'"+evil[0] {
		t.Errorf("got %q", rows)
	}
}

func TestEach_OfAnEmptyLogIsAnEmptyFile(t *testing.T) {
	w := newWorld(t)
	w.must(command.RecordAudit{})
	if lines := w.exported(gestor.TenantScope("ten_nobody"), state.AuditFilter{Tenant: "ten_nobody"}); len(lines) != 0 {
		t.Errorf("got %d lines", len(lines))
	}
	var file bytes.Buffer
	if err := NewCSV(&file).Flush(); err != nil || !strings.HasPrefix(file.String(), "seq,at,") {
		t.Errorf("got %q, %v", file.String(), err)
	}
}
