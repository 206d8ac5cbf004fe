package process

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// readEnvFile reads NAME="value" lines as systemd and dotenv do: double quotes with \\, \" and \$ and \n escaped,
// single quotes as they are, bare values trimmed. A missing file is empty.
func readEnvFile(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read env file: %w", err)
	}
	var env []string
	rest := string(b)
	for rest != "" {
		var name, value string
		name, value, rest, err = nextVariable(rest)
		if err != nil {
			return nil, fmt.Errorf("env file %s: %w", path, err)
		}
		if name != "" {
			env = append(env, name+"="+value)
		}
	}
	return env, nil
}

func nextVariable(s string) (name, value, rest string, err error) {
	line, after, _ := strings.Cut(s, "\n")
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || trimmed[0] == '#' {
		return "", "", after, nil
	}
	name, raw, ok := strings.Cut(trimmed, "=")
	if !ok {
		return "", "", "", errors.New("a line is not NAME=value")
	}
	if raw == "" || raw[0] != '"' && raw[0] != '\'' {
		return name, raw, after, nil
	}
	open := strings.IndexByte(s, '=') + 1
	value, n, err := unquote(s[open:])
	if err != nil {
		return "", "", "", fmt.Errorf("value of %s: %w", name, err)
	}
	_, rest, _ = strings.Cut(s[open+n:], "\n")
	return name, value, rest, nil
}

// unquote reads a quoted value, which may span lines, and returns how many bytes it took.
func unquote(s string) (value string, n int, err error) {
	var b strings.Builder
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return b.String(), i + 1, nil
		case s[i] == '\\' && quote == '"' && i+1 < len(s) && strings.IndexByte("\\\"$`", s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0, errors.New("a quote is not closed")
}

// mergeEnv returns base with the variables of over in place of those of the same name.
func mergeEnv(base, over []string) []string {
	names := map[string]bool{}
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		names[name] = true
	}
	merged := make([]string, 0, len(base)+len(over))
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); !names[name] {
			merged = append(merged, kv)
		}
	}
	return append(merged, over...)
}
