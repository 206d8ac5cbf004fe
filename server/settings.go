package server

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/server/internal/config"
)

// Flags adds the server's flags to a set.
func Flags(set *pflag.FlagSet) { config.Flags(set) }

// LoadConfig puts the settings together from file, environment and parsed flags.
func LoadConfig(flags *pflag.FlagSet, lookup func(string) (string, bool)) (Config, error) {
	return config.Load(flags, lookup)
}

// NewLogger makes the logger the settings ask for. The settings have been checked.
func NewLogger(c Config, w io.Writer) *slog.Logger {
	level, err := c.Level()
	if err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
