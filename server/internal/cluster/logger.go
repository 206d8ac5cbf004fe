package cluster

import (
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// NewLogger takes what the Raft libraries log into log, one level lower: what they call information is of interest
// only to who looks for an error in them.
func NewLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Debug, Output: discard{}})
	l.RegisterSink(sink{log.With("component", "raft")})
	return l
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

type sink struct{ log *slog.Logger }

func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		s.log.Error(msg, args...) //nolint:sloglint // the libraries' own constant messages
	case hclog.Warn:
		s.log.Warn(msg, args...) //nolint:sloglint // see above
	default:
		s.log.Debug(msg, args...) //nolint:sloglint // see above
	}
}
