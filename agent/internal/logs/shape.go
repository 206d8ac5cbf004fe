package logs

import (
	"regexp"
	"strings"
)

const maxKeyLines = 200 // lines of a private key after which the rest is taken for something else

// shapes hides what looks like a secret whatever its value, line by line in one stream.
type shapes struct {
	known  []shape
	inKey  bool
	hidden int
}

type shape struct {
	hint    string // cheap test: a line without it cannot match
	match   *regexp.Regexp
	replace string
}

func knownShapes() []shape {
	return []shape{
		{"://", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:]*:[^\s@]+@`), "${1}" + mask + "@"},
		{"://", regexp.MustCompile(`(https?://)[A-Za-z0-9_.~%-]{16,}@`), "${1}" + mask + "@"},
		{"gh", regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`), mask},
		{"glpat-", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), mask},
		{"npm_", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{30,}`), mask},
		{"xox", regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}`), mask},
		{"_live_", regexp.MustCompile(`\b[a-z]{2}_live_[A-Za-z0-9]{16,}`), mask},
		{"AKIA", regexp.MustCompile(`\bAKIA[A-Z0-9]{16}\b`), mask},
		{"AIza", regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}`), mask},
		{"gst1.", regexp.MustCompile(`\bgst1\.[0-9a-f]{16,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`), mask},
		{"eyJ", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+`), mask},
		{"earer ", regexp.MustCompile(`([Bb]earer )[A-Za-z0-9._~+/=-]{16,}`), "${1}" + mask},
	}
}

// hide returns the line without secrets, and false if the line is inside a private key and to be left out.
func (s *shapes) hide(line string) (string, bool) {
	if s.inKey {
		return "", s.keyLine(line)
	}
	if i := strings.Index(line, "-----BEGIN "); i >= 0 && strings.Contains(line[i:], "PRIVATE KEY") {
		s.inKey, s.hidden = !strings.Contains(line[i:], "-----END "), 0
		return line[:i] + "[redacted private key]", true
	}
	for _, k := range s.known {
		if strings.Contains(line, k.hint) {
			line = k.match.ReplaceAllString(line, k.replace)
		}
	}
	return line, true
}

// keyLine always hides the line, and looks for the key's end.
func (s *shapes) keyLine(line string) bool {
	s.hidden++
	if strings.Contains(line, "-----END ") || s.hidden >= maxKeyLines {
		s.inKey = false
	}
	return false
}
