package server

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/saas-gestor/gestor/server/internal/logfile"
)

// OpenLogs makes the logger the settings ask for: to w, and to the files of log_dir, which the caller closes. Without log_dir
// there are no files. The settings have been checked.
func OpenLogs(c Config, w io.Writer) (*slog.Logger, *logfile.Files, error) {
	log := NewLogger(c, w)
	if c.LogDir == "" {
		return log, nil, nil
	}
	level, err := c.Level()
	if err != nil {
		return nil, nil, err
	}
	files, err := logfile.Open(logfile.Options{Dir: c.LogDir, Level: level, Beside: log.Handler()})
	if err != nil {
		return nil, nil, err
	}
	return slog.New(files.Handler()), files, nil
}

// reopenLogs opens the log files anew at SIGHUP, for programs that move them away.
func reopenLogs(files *logfile.Files) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangups:
				files.Reopen()
			}
		}
	}
}
