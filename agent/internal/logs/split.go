package logs

import (
	"fmt"
	"unicode/utf8"
)

const (
	maxLine   = 16 << 10 // bytes of a line that are kept
	lookahead = 1 << 10  // bytes beyond it that are looked at, so that a token at the cut is known for one
)

// splitter makes lines of clean bytes in constant memory. A carriage return within a line begins it anew, as on a
// terminal: of a progress bar its last state stays.
type splitter struct {
	line   []byte
	over   int64 // bytes of the line left out
	cr     bool  // the last byte was a carriage return
	empty  bool  // whether nothing came since the last line end
	shapes shapes
	emit   func(text string)
}

func newSplitter(known []shape, emit func(string)) *splitter {
	return &splitter{empty: true, shapes: shapes{known: known}, emit: emit}
}

func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		n := nextLineByte(p)
		s.text(p[:n])
		if n == len(p) {
			return
		}
		if p[n] == '\n' {
			s.cr = false
			s.end()
		} else {
			s.cr, s.empty = true, false
		}
		p = p[n+1:]
	}
}

func nextLineByte(p []byte) int {
	for i, b := range p {
		if b == '\n' || b == '\r' {
			return i
		}
	}
	return len(p)
}

func (s *splitter) text(p []byte) {
	if len(p) == 0 {
		return
	}
	if s.cr {
		s.line, s.over, s.cr = s.line[:0], 0, false
	}
	s.empty = false
	room := max(0, min(len(p), maxLine+lookahead-len(s.line)))
	s.line = append(s.line, p[:room]...)
	s.over += int64(len(p) - room)
}

// flush ends a last line without a line end.
func (s *splitter) flush() {
	if !s.empty {
		s.end()
	}
}

func (s *splitter) end() {
	text, show := s.shapes.hide(string(s.line))
	text = cut(text, s.over)
	s.line, s.over, s.empty = s.line[:0], 0, true
	if show {
		s.emit(text)
	}
}

// cut shortens a line to maxLine with a note about what is missing; over bytes are missing already.
func cut(text string, over int64) string {
	if len(text) <= maxLine && over == 0 {
		return text
	}
	const note = 64 // room for the note
	end := min(len(text), maxLine-note)
	for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… [cut: %d bytes left out]", text[:end], over+int64(len(text)-end))
}
