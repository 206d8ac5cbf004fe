package output_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/saas-gestor/gestor/cli/internal/output"
)

func TestClean_RemovesWhatATerminalWouldObey(t *testing.T) {
	for name, c := range map[string]struct{ in, clean, log string }{
		"plain text":               {"hello", "hello", "hello"},
		"colours":                  {"\x1b[1;31mred\x1b[0m", "red", "\x1b[1;31mred\x1b[0m\x1b[0m"},
		"unclosed colour":          {"\x1b[31mred", "red", "\x1b[31mred\x1b[0m"},
		"cursor moves":             {"a\x1b[2J\x1b[1;1Hb", "ab", "ab"},
		"private mode":             {"a\x1b[?1049hb", "ab", "ab"},
		"title by OSC and BEL":     {"a\x1b]0;owned\x07b", "ab", "ab"},
		"link by OSC and ST":       {"a\x1b]8;;http://evil\x1b\\b", "ab", "ab"},
		"OSC without an end":       {"a\x1b]52;c;ZXZpbA==", "a", "a"},
		"C1 control sequence":      {"a\u009b2Jb", "ab", "ab"},
		"device control string":    {"a\x1bPq#0\x1b\\b", "ab", "ab"},
		"charset and reset":        {"a\x1b(0b\x1bcd", "abd", "abd"},
		"lone escape":              {"a\x1b", "a", "a"},
		"carriage return":          {"real\rfake", "realfake", "realfake"},
		"backspaces":               {"real\b\b\b\bfake", "realfake", "realfake"},
		"line ends and tabs":       {"a\nb\tc", "a b c", "a b c"},
		"right-to-left override":   {"a\u202eb", "ab", "ab"},
		"zero-width":               {"a\u200bb", "ab", "ab"},
		"bytes that are not UTF-8": {"a\xffb", "a\ufffdb", "a\ufffdb"},
		"other scripts stay":       {"olá 世界 ✓", "olá 世界 ✓", "olá 世界 ✓"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := output.Clean(c.in); got != c.clean {
				t.Errorf("Clean = %q, want %q", got, c.clean)
			}
			if got := output.CleanLog(c.in, true); got != c.log {
				t.Errorf("CleanLog = %q, want %q", got, c.log)
			}
			if got := output.CleanLog(c.in, false); got != c.clean {
				t.Errorf("CleanLog without colours = %q, want %q", got, c.clean)
			}
		})
	}
}

func FuzzClean_LeavesNoControl(f *testing.F) {
	for _, seed := range []string{"\x1b[31m", "\x1b]0;x\x07", "\u009bA", "\x1b", "\x1b(", "\xff\x9b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if clean := output.Clean(s); strings.ContainsFunc(clean, unicode.IsControl) {
			t.Errorf("Clean(%q) = %q", s, clean)
		}
		rest := output.CleanLog(s, true)
		for _, part := range strings.Split(rest, "\x1b[")[1:] {
			if end := strings.IndexByte(part, 'm'); end < 0 || strings.Trim(part[:end], "0123456789;:") != "" {
				t.Errorf("CleanLog(%q) = %q keeps more than colours", s, rest)
			}
		}
		if strings.ContainsFunc(strings.ReplaceAll(rest, "\x1b[", ""), unicode.IsControl) {
			t.Errorf("CleanLog(%q) = %q", s, rest)
		}
	})
}
