package logfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const (
	auditDir    = "audit"
	auditSuffix = ".jsonl"
	auditBatch  = 500
	auditAgain  = 5 * time.Second // after the disk or the state failed
)

// AuditSource reads the audit log: up to limit entries behind the one numbered seq, the oldest first.
type AuditSource func(ctx context.Context, seq int64, limit int) ([]gestor.AuditEntry, error)

// Mirror copies the audit log into files, one a day: audit/2026-11-23.jsonl, by the day (UTC) of each entry. What it writes can
// be checked without a server, see the package auditlog. Where it is
// stands in the files themselves, so that each entry is there once, also after a crash.
type Mirror struct {
	dir     string
	read    AuditSource
	changed <-chan struct{}
	log     *slog.Logger
}

// NewMirror makes a Mirror into dir/audit. changed is signalled when there may be new entries.
func NewMirror(dir string, read AuditSource, changed <-chan struct{}, log *slog.Logger) *Mirror {
	return &Mirror{dir: filepath.Join(dir, auditDir), read: read, changed: changed, log: log}
}

// line is an entry in a file.
type line = auditlog.Line

// Run copies until ctx ends. What fails is tried again: the entries are in the state and wait.
func (m *Mirror) Run(ctx context.Context) error {
	troubled := false
	for {
		err := m.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ended, as it was meant to
		}
		if !troubled {
			m.log.Error("the audit log is not mirrored now", "dir", m.dir, "err", err)
		}
		troubled = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(auditAgain):
		}
	}
}

// follow copies until something fails.
func (m *Mirror) follow(ctx context.Context) error {
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return err
	}
	last, err := m.position()
	if err != nil {
		return err
	}
	for {
		if last, err = m.copy(ctx, last); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.changed:
		}
	}
}

// copy appends all entries behind the line last and returns the last of them.
func (m *Mirror) copy(ctx context.Context, last line) (line, error) {
	if last.Seq > 0 {
		there, err := m.read(ctx, last.Seq-1, 1)
		if err != nil || len(there) == 0 {
			return last, err // the state is not as far as the files yet
		}
		if same := there[0].Line(); same.Seq == last.Seq && (!same.At.Equal(last.At) || same.Action != last.Action || same.Object != last.Object) { // else its year was archived since
			m.log.Warn("the audit files are of another history, they are set aside", "dir", m.dir, "seq", last.Seq)
			if err := m.setAside(); err != nil {
				return last, err
			}
			last = line{}
		}
	}
	for {
		entries, err := m.read(ctx, last.Seq, auditBatch)
		if err != nil || len(entries) == 0 {
			return last, err
		}
		for _, day := range byDay(entries) {
			if err := m.add(day); err != nil {
				return last, err
			}
			last = day[len(day)-1]
		}
	}
}

// byDay cuts entries into runs of one day each.
func byDay(entries []gestor.AuditEntry) [][]line {
	var out [][]line
	for _, a := range entries {
		l := a.Line()
		if n := len(out); n > 0 && file(out[n-1][0]) == file(l) {
			out[n-1] = append(out[n-1], l)
			continue
		}
		out = append(out, []line{l})
	}
	return out
}

func file(l line) string { return l.At.Format(time.DateOnly) + auditSuffix }

// add appends lines of one day, all of them or none.
func (m *Mirror) add(lines []line) error {
	var text bytes.Buffer
	for _, l := range lines {
		if err := json.NewEncoder(&text).Encode(l); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(m.dir, file(lines[0])), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		if _, err = f.Write(text.Bytes()); err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// position is the newest line in all files: they are written in order, so it is the last of one of them. A clock that was
// set back does not matter. What a crash left of a line is cut off.
func (m *Mirror) position() (line, error) {
	names, err := filepath.Glob(filepath.Join(m.dir, "*"+auditSuffix))
	if err != nil {
		return line{}, err
	}
	var newest line
	for _, name := range names {
		last, err := mend(name)
		if err != nil {
			return line{}, fmt.Errorf("read %s: %w", name, err)
		}
		if last.Seq > newest.Seq {
			newest = last
		}
	}
	return newest, nil
}

// tailBytes is how much of a file is read for its last line, if that is enough.
const tailBytes = 256 << 10

// mend cuts off what is behind the last whole line of a file, and returns that line.
func mend(name string) (line, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return line{}, err
	}
	last, err := mendFile(f)
	return last, errors.Join(err, f.Close())
}

func mendFile(f *os.File) (line, error) {
	info, err := f.Stat()
	if err != nil {
		return line{}, err
	}
	size := info.Size()
	for from := max(0, size-tailBytes); ; from = 0 {
		last, whole, err := lastLine(io.NewSectionReader(f, from, size-from), from > 0)
		if err != nil || last.Seq == 0 && from > 0 {
			if err != nil {
				return line{}, err
			}
			continue // no whole line in the tail
		}
		if whole += from; whole < size {
			err = f.Truncate(whole)
		}
		return last, err
	}
}

// lastLine is the last whole line and where it ends. What is before the first line's end is no line if inside.
func lastLine(r io.Reader, inside bool) (last line, whole int64, err error) {
	in := bufio.NewReader(r)
	for {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return last, whole, nil // what has no end is no line
		}
		if err != nil {
			return last, whole, err
		}
		if inside {
			inside, whole = false, whole+int64(len(raw))
			continue
		}
		var l line
		if json.Unmarshal(raw, &l) != nil || l.Seq <= last.Seq {
			return last, whole, nil //nolint:nilerr // a crash of the host left something else than what was written
		}
		last, whole = l, whole+int64(len(raw))
	}
}

// setAside keeps files that do not belong to the state, which was restored to before them, under another name.
func (m *Mirror) setAside() error {
	names, err := filepath.Glob(filepath.Join(m.dir, "*"+auditSuffix))
	if err != nil {
		return err
	}
	into := filepath.Join(m.dir, "superseded-"+time.Now().UTC().Format("20060102-150405.000"))
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(name, filepath.Join(into, filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}
