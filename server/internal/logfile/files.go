package logfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Options say where and how long files are kept. Dir is needed; a zero elsewhere means the default.
type Options struct {
	Dir      string
	Level    slog.Level
	Beside   slog.Handler // gets every record too: standard error; nil for none
	MaxMB    int          // of a file before it is turned over; 100
	MaxDays  int          // that a file is kept after it was turned over; 90
	MaxFiles int          // of one name that are kept; 30
}

// Files are the open log files.
type Files struct {
	dir                string
	app, errors, entry *writer
	handler            slog.Handler
	access             *slog.Logger
}

// Open makes the directory if need be, and proves that it can be written to.
func Open(o Options) (*Files, error) {
	if err := os.MkdirAll(filepath.Join(o.Dir, auditDir), 0o750); err != nil {
		return nil, fmt.Errorf("log directory: %w; choose another with --log-dir, or give this user the right to it", err)
	}
	probe, err := os.CreateTemp(o.Dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("log directory: %w; choose another with --log-dir, or give this user the right to it", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	f := &Files{dir: o.Dir}
	trouble := func(name string) func(error) {
		return func(err error) { f.trouble(o.Beside, name, err) }
	}
	f.app = newWriter(turned(o, "app.log"), trouble("app.log"))
	f.errors = newWriter(turned(o, "error.log"), trouble("error.log"))
	f.entry = newWriter(turned(o, "access.log"), trouble("access.log"))
	handlers := fan{
		slog.NewJSONHandler(f.app, &slog.HandlerOptions{Level: o.Level}),
		slog.NewJSONHandler(f.errors, &slog.HandlerOptions{Level: slog.LevelWarn}),
	}
	if o.Beside != nil {
		handlers = append(handlers, o.Beside)
	}
	f.handler = handlers
	f.access = slog.New(slog.NewJSONHandler(f.entry, &slog.HandlerOptions{ReplaceAttr: plain}))
	return f, nil
}

// plain leaves out of the access log what says nothing there.
func plain(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func turned(o Options, name string) io.Writer {
	return &lumberjack.Logger{
		Filename: filepath.Join(o.Dir, name), MaxSize: cmp.Or(o.MaxMB, 100), MaxAge: cmp.Or(o.MaxDays, 90),
		MaxBackups: cmp.Or(o.MaxFiles, 30), Compress: true,
	}
}

// trouble tells of a file that cannot be written where it can be told.
func (f *Files) trouble(beside slog.Handler, name string, err error) {
	if beside != nil {
		slog.New(beside).Error("a log file cannot be written, lines are dropped", "file", filepath.Join(f.dir, name), "err", err)
	}
}

// Handler is where records go: to app.log, to error.log from Warn on, and beside.
func (f *Files) Handler() slog.Handler { return f.handler }

// Entry is one line of access.log.
type Entry struct {
	At        time.Time
	Took      time.Duration
	Reference string // finds the request in app.log
	Caller    string
	Tenant    string
	Address   string
	Procedure string
	Code      string
	Received  int64 // bytes
	Sent      int64
}

// Access writes a line into access.log.
func (f *Files) Access(e Entry) {
	r := slog.NewRecord(e.At, slog.LevelInfo, "", 0)
	r.AddAttrs(
		slog.String("request", e.Reference), slog.String("caller", e.Caller), slog.String("tenant", e.Tenant),
		slog.String("address", e.Address), slog.String("procedure", e.Procedure), slog.String("code", e.Code),
		slog.Float64("ms", float64(e.Took.Microseconds())/1000), slog.Int64("received", e.Received), slog.Int64("sent", e.Sent),
	)
	_ = f.access.Handler().Handle(context.Background(), r) // the writer below never fails
}

// Dropped is how many lines of each file found no room.
func (f *Files) Dropped() map[string]uint64 {
	return map[string]uint64{
		"app.log": f.app.dropped.Load(), "error.log": f.errors.dropped.Load(), "access.log": f.entry.dropped.Load(),
	}
}

// Reopen opens all files anew.
func (f *Files) Reopen() {
	f.app.Reopen()
	f.errors.Reopen()
	f.entry.Reopen()
}

// Dir is where the files are.
func (f *Files) Dir() string { return f.dir }

// Close writes what waits and closes the files. What is logged later is dropped. Closing none is fine.
func (f *Files) Close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.app.Close(), f.errors.Close(), f.entry.Close())
}

// fan hands records to several handlers.
type fan []slog.Handler

func (f fan) Enabled(ctx context.Context, level slog.Level) bool {
	for _, h := range f {
		if h.Enabled(ctx, level) {
			return true
		}
	}
	return false
}

func (f fan) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, h := range f {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

func (f fan) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make(fan, len(f))
	for i, h := range f {
		out[i] = h.WithAttrs(attrs)
	}
	return out
}

func (f fan) WithGroup(name string) slog.Handler {
	out := make(fan, len(f))
	for i, h := range f {
		out[i] = h.WithGroup(name)
	}
	return out
}
