package logs

import (
	"bytes"
	"unicode/utf8"
)

// cleaner makes a stream of bytes harmless to show: bytes that are not UTF-8 become U+FFFD, control characters and
// escape sequences go, except line ends, tabs and colours (ESC [ … m). It keeps what a write cut apart.
type cleaner struct {
	state cleanState
	seq   []byte // the control sequence so far, from ESC on
	rune  []byte // the bytes of a rune cut apart
}

type cleanState int

const (
	stateText cleanState = iota
	stateEscape
	stateCSI    // ESC [ …
	stateString // OSC, DCS, PM, APC: until BEL or ESC \
	stateStringEscape
	stateCharset // ESC ( and the like: one more byte
)

const (
	escape     = 0x1b
	bell       = 0x07
	maxControl = 64 // bytes of a colour sequence; longer ones are no colours
)

// Clean appends the clean form of p to out.
func (c *cleaner) Clean(out, p []byte) []byte {
	for len(p) > 0 {
		if c.state == stateText && len(c.rune) == 0 {
			n := plainPrefix(p)
			out, p = append(out, p[:n]...), p[n:]
			if len(p) == 0 {
				break
			}
		}
		var n int
		out, n = c.step(out, p)
		p = p[n:]
	}
	return out
}

// Flush appends what is left of a rune cut apart at the end of the stream.
func (c *cleaner) Flush(out []byte) []byte {
	if len(c.rune) > 0 {
		out = append(out, "\uFFFD"...)
	}
	*c = cleaner{}
	return out
}

func plainPrefix(p []byte) int {
	for i, b := range p {
		if b < 0x20 && b != '\n' && b != '\t' && b != '\r' || b >= 0x7f {
			return i
		}
	}
	return len(p)
}

// step takes one byte or one rune from p and returns how many bytes it took.
func (c *cleaner) step(out, p []byte) ([]byte, int) {
	b := p[0]
	switch c.state {
	case stateText:
		return c.text(out, p)
	case stateEscape:
		c.escape(b)
	case stateCSI:
		out = c.csi(out, b)
	case stateString:
		c.inString(b)
	case stateStringEscape:
		c.state = stateString
		if b == '\\' {
			c.state = stateText
		}
	case stateCharset:
		c.state = stateText
	}
	return out, 1
}

func (c *cleaner) text(out, p []byte) ([]byte, int) {
	b := p[0]
	switch {
	case len(c.rune) > 0:
		return c.continueRune(out, p)
	case b == escape:
		c.state, c.seq = stateEscape, append(c.seq[:0], b)
	case b >= utf8.RuneSelf:
		return c.startRune(out, p)
	case b >= 0x20 && b != 0x7f, b == '\n', b == '\t', b == '\r':
		out = append(out, b)
	}
	return out, 1
}

func (c *cleaner) startRune(out, p []byte) ([]byte, int) {
	if !utf8.FullRune(p) {
		c.rune = append(c.rune[:0], p...)
		return out, len(p)
	}
	r, n := utf8.DecodeRune(p)
	return appendRune(out, r), n
}

// continueRune adds one byte at a time to a rune whose start came with an earlier write.
func (c *cleaner) continueRune(out, p []byte) ([]byte, int) {
	c.rune = append(c.rune, p[0])
	if !utf8.FullRune(c.rune) {
		return out, 1
	}
	r, n := utf8.DecodeRune(c.rune)
	taken := 1
	if n < len(c.rune) { // the new byte does not belong to it
		taken = 0
	}
	c.rune = c.rune[:0]
	return appendRune(out, r), taken
}

// appendRune leaves out the C1 controls, of which terminals make escape sequences, and what reverses text.
func appendRune(out []byte, r rune) []byte {
	switch {
	case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return out
	}
	return utf8.AppendRune(out, r)
}

func (c *cleaner) escape(b byte) {
	switch b {
	case '[':
		c.state, c.seq = stateCSI, append(c.seq, b)
	case ']', 'P', 'X', '^', '_':
		c.state = stateString
	case '(', ')', '*', '+', '-', '.', '/', '#', '%', ' ':
		c.state = stateCharset
	case escape:
	default:
		c.state = stateText
	}
}

func (c *cleaner) csi(out []byte, b byte) []byte {
	switch {
	case b == escape:
		c.state, c.seq = stateEscape, append(c.seq[:0], b)
	case b == '\n':
		c.state = stateText
		return append(out, b)
	case b >= 0x40 && b <= 0x7e:
		c.state = stateText
		if b == 'm' && isColour(c.seq[2:]) {
			return append(append(out, c.seq...), b)
		}
	case len(c.seq) < maxControl:
		c.seq = append(c.seq, b)
	}
	return out
}

func isColour(params []byte) bool {
	return len(params) < maxControl-2 && len(bytes.Trim(params, "0123456789;:")) == 0
}

// inString swallows a string sequence. A line end ends it: a program that never closes one must not hide its log.
func (c *cleaner) inString(b byte) {
	switch b {
	case bell, '\n':
		c.state = stateText
	case escape:
		c.state = stateStringEscape
	}
}
