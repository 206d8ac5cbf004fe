package cluster

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metrics"
	"github.com/hashicorp/raft-wal/verifier"
)

// store is the log on disk: the write-ahead log, over it the verifier, over it the watchdog.
type store struct {
	logs   raft.LogStore
	stable raft.StableStore
	wal    *wal.WAL
	verify io.Closer
}

func openStore(o Options) (*store, error) {
	dir := filepath.Join(o.Dir, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := scrubLog(dir); err != nil {
		return nil, err
	}
	w, err := openWAL(dir, o.Log)
	if err != nil {
		return nil, err
	}
	v := verifier.NewLogStore(w, isCheckpoint, report(o.Log), &metrics.NoOpCollector{})
	dog := &watchdog{limit: o.Stall, onStall: o.OnStall, onStuck: func(err error) {
		o.Log.Error("the log could not be continued, most likely the disk is full; ending: free space on it and start again, "+
			"nothing that was acknowledged is lost", "dir", dir, "err", err)
		os.Exit(1)
	}}
	return &store{
		logs:   watchedLogs{dog: dog, LogStore: v},
		stable: watchedStable{dog: dog, StableStore: w},
		wal:    w,
		verify: v,
	}, nil
}

// openWAL opens the log. The database of its segments panics when it is damaged.
func openWAL(dir string, log *slog.Logger) (w *wal.WAL, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged("the log's table of contents in %s: %v", dir, p)
		}
	}()
	w, err = wal.Open(dir, wal.WithLogger(NewLogger(log)))
	var disk syscall.Errno // the disk is full, or we may not read it: nothing is damaged
	if err == nil || errors.As(err, &disk) && !errors.Is(err, os.ErrNotExist) {
		return w, err
	}
	return nil, damaged("the log in %s: %v", dir, err)
}

func (s *store) Close() error {
	// The verifier closes the log below it too; the log does not mind being closed twice.
	return errors.Join(s.verify.Close(), s.wal.Close())
}

// isCheckpoint recognises the entries that the verifier compares sums at: those without a command.
func isCheckpoint(l *raft.Log) (bool, error) {
	return l.Type == raft.LogCommand && len(l.Data) == 0, nil
}

func report(log *slog.Logger) verifier.ReportFn {
	return func(r verifier.VerificationReport) {
		var damaged verifier.ErrChecksumMismatch
		switch {
		case r.Err == nil:
			log.Debug("verified the log", "range", r.Range.String())
		case errors.As(r.Err, &damaged):
			log.Error("the log on disk is not what was written", "range", r.Range.String(), "err", r.Err)
		default:
			log.Debug("could not verify the log", "range", r.Range.String(), "err", r.Err)
		}
	}
}
