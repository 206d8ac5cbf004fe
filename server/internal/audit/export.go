package audit

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Each calls use with all entries that a filter chooses and a view sees, the oldest first, those of archived years too. years is
// what the state says of them; entries that are written meanwhile may be missing.
func Each(ctx context.Context, view *state.View, years []gestor.AuditYear, blobs Blobs, f state.AuditFilter, use func(l *auditlog.Line) error) error {
	end, err := view.LastAuditSeq(ctx)
	if err != nil {
		return err
	}
	var seq int64
	for _, y := range years {
		if y.Digest == "" {
			break
		}
		seq = y.LastSeq
		if f.Year != 0 && f.Year != y.Year {
			continue
		}
		if err := eachArchived(ctx, blobs, y, f, use); err != nil {
			return err
		}
	}
	for seq < end {
		var found []gestor.AuditEntry
		if found, seq, err = view.FollowAudit(ctx, f, seq, atOnce); err != nil {
			return err
		}
		for _, a := range found {
			line := a.Line()
			if err := use(&line); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachArchived(ctx context.Context, blobs Blobs, y gestor.AuditYear, f state.AuditFilter, use func(l *auditlog.Line) error) error {
	return ReadArchive(blobs, y, func(l *auditlog.Line) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f.Chooses(l) {
			return nil
		}
		return use(l)
	})
}

// Mask leaves out of an entry what it is about: all that is left says who did what when.
func Mask(l *auditlog.Line) {
	*l = auditlog.Line{
		Seq: l.Seq, Year: l.Year, At: l.At, Tenant: l.Tenant, Kind: l.Kind, Actor: l.Actor, Action: l.Action, Severity: l.Severity,
		Outcome: l.Outcome, Form: l.Form, Previous: l.Previous, Hash: l.Hash, Masked: true,
	}
}

// Writer writes entries in a form.
type Writer interface {
	Write(l *auditlog.Line) error
	// Flush writes what is still held.
	Flush() error
}

// NewJSONL writes one JSON object a line.
func NewJSONL(w io.Writer) Writer { return jsonl{json.NewEncoder(w)} }

type jsonl struct{ to *json.Encoder }

func (j jsonl) Write(l *auditlog.Line) error { return j.to.Encode(l) }

func (jsonl) Flush() error { return nil }

// NewCSV writes comma-separated values with a first line of names, safe to open in a spreadsheet.
func NewCSV(w io.Writer) Writer { return &table{to: csv.NewWriter(w)} }

type table struct {
	to     *csv.Writer
	headed bool
}

func (t *table) head() error {
	if t.headed {
		return nil
	}
	t.headed = true
	return t.to.Write([]string{
		"seq", "at", "tenant", "severity", "outcome", "action", "object", "actor_kind", "actor_id", "actor", "session", "token", "operator",
		"address", "user_agent", "reference", "request_id", "before", "after", "detail", "hash",
	})
}

func (t *table) Write(l *auditlog.Line) error {
	if err := t.head(); err != nil {
		return err
	}
	cells := []string{
		strconv.FormatInt(l.Seq, 10), l.At.UTC().Format(time.RFC3339Nano), l.Tenant, l.Severity, l.Outcome, l.Action, l.Object, l.Kind, l.Actor, l.Name,
		l.Session, l.Token, strconv.FormatBool(l.Operator), l.Address, l.UserAgent, l.Reference, l.Request,
		string(l.Before), string(l.After), string(l.Detail), l.Hash.String(),
	}
	for i, c := range cells {
		cells[i] = Cell(c)
	}
	return t.to.Write(cells)
}

func (t *table) Flush() error {
	if err := t.head(); err != nil {
		return err
	}
	t.to.Flush()
	return t.to.Error()
}

// Cell is text that no spreadsheet takes for a formula: such text begins with an apostrophe then.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
