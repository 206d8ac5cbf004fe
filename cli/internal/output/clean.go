package output

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s without escape sequences, control characters and invisible direction marks; tabs and line ends
// become spaces. The result is one line that is safe to print on a terminal.
func Clean(s string) string {
	if isPlain(s) {
		return s
	}
	return strip(s, false)
}

// CleanLog is Clean for a line of a log: SGR colours survive if colours is set, and are closed at the end of the line.
func CleanLog(s string, colours bool) string {
	if isPlain(s) {
		return s
	}
	s = strip(s, colours)
	if strings.Contains(s, "\x1b[") {
		s += reset
	}
	return s
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func strip(s string, colours bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0x1b || r == 0x9b || r == 0x9d || r == 0x90:
			n := sequence(s[i:], r, size)
			if colours && isSGR(s[i:i+n]) {
				b.WriteString(s[i : i+n])
			}
			i += n
			continue
		case r == '\t' || r == '\n':
			b.WriteByte(' ')
		case r == utf8.RuneError && size == 1:
			b.WriteRune(utf8.RuneError)
		case !unicode.IsControl(r) && !isDirection(r):
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// sequence is the length of the escape sequence that s begins with. A sequence without an end takes what is left.
func sequence(s string, first rune, size int) int {
	kind := byte(0)
	switch {
	case first == 0x9b:
		kind = '['
	case first == 0x9d || first == 0x90:
		kind = ']'
	case len(s) > 1:
		kind, size = s[1], 2
	}
	switch kind {
	case '[':
		return control(s, size)
	case ']', 'P', 'X', '^', '_':
		return controlString(s, size)
	default:
		return escape(s, size)
	}
}

// control ends at the first byte from @ to ~; any byte that cannot be part of it ends it too.
func control(s string, from int) int {
	for i := from; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
		if s[i] < 0x20 || s[i] > 0x7e {
			return i
		}
	}
	return len(s)
}

// controlString ends at BEL or at the string terminator.
func controlString(s string, from int) int {
	for i := from; i < len(s); i++ {
		if s[i] == 0x07 {
			return i + 1
		}
		if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
			return i + 2
		}
		if strings.HasPrefix(s[i:], "\u009c") {
			return i + 2
		}
	}
	return len(s)
}

// escape is ESC, intermediate bytes and one final byte.
func escape(s string, from int) int {
	i := from - 1
	for i < len(s) && i > 0 && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i > 0 && i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		return i + 1
	}
	return max(i, 1)
}

func isSGR(s string) bool {
	body, ok := strings.CutPrefix(s, "\x1b[")
	if !ok || !strings.HasSuffix(body, "m") || len(body) > 40 {
		return false
	}
	return strings.Trim(strings.TrimSuffix(body, "m"), "0123456789;:") == ""
}

// isDirection reports marks that reorder or hide text: what is shown would not be what is there.
func isDirection(r rune) bool {
	return r == 0x061c || r == 0xfeff || (r >= 0x200b && r <= 0x200f) || (r >= 0x2028 && r <= 0x202e) ||
		(r >= 0x2060 && r <= 0x206f) || (r >= 0xe0000 && r <= 0xe007f)
}
