package history

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// A line's number is the attempt of its source in the upper bits and the source's own count below.
const (
	countBits  = 40
	everything = 1<<countBits - 1 // the count of a source that needs to send no more: the log is full
	maxAttempt = 1<<(64-countBits) - 1
)

// number puts a line's number together.
func number(attempt, count uint64) uint64 { return attempt<<countBits | count }

// countOf is the source's own number of a line.
func countOf(line *gestorv1.LogLine) uint64 { return line.GetSeq() & everything }

// attemptOf is the attempt in a source, "<node>/<attempt>"; 0 for a source without one.
func attemptOf(source string) (uint64, error) {
	i := strings.LastIndexByte(source, '/')
	if len(source) == 0 || len(source) > maxSourceLen {
		return 0, fault.Invalid("source", "must have 1 to %d bytes", maxSourceLen)
	}
	if i < 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(source[i+1:], 10, 64)
	if err != nil || n > maxAttempt {
		return 0, fault.Invalid("source", "%q names no attempt", source)
	}
	return n, nil
}

// Batch is lines of one source that follow each other.
type Batch struct {
	Source string
	After  uint64 // the source's count before the first of these
	Acked  uint64 // the source's count with these
	Lines  []*gestorv1.LogLine
	EOF    bool // the source has no more
}

// Full reports whether the source's further lines are dropped, because its log is full.
func (b Batch) Full() bool { return b.Acked == everything }

// NewBatch makes a batch of what travelled between servers.
func NewBatch(source string, after uint64, lines []*gestorv1.LogLine, eof, full bool) Batch {
	b := Batch{Source: source, After: after, Acked: after, Lines: lines, EOF: eof}
	if n := len(lines); n > 0 {
		b.Acked = countOf(lines[n-1])
	}
	if full {
		b.Acked = everything
	}
	return b
}

// check refuses lines that are not of the source, or not in order.
func (b Batch) check() error {
	attempt, err := attemptOf(b.Source)
	if err != nil {
		return err
	}
	last := number(attempt, b.After)
	if b.After > everything {
		return fault.Invalid("after", "%d is no number of a line", b.After)
	}
	for _, line := range b.Lines {
		if line.GetSeq() <= last || line.GetSeq()>>countBits != attempt {
			return fault.Invalid("lines", "line %d of %s does not follow line %d", line.GetSeq(), b.Source, last)
		}
		last = line.GetSeq()
	}
	return nil
}

// since is the batch without what a source has that is at count.
func (b Batch) since(count uint64) Batch {
	if b.After >= count {
		return b
	}
	n := 0
	for n < len(b.Lines) && countOf(b.Lines[n]) <= count {
		n++
	}
	b.After, b.Acked, b.Lines = count, max(b.Acked, count), b.Lines[n:]
	return b
}

// Position is how far a source is.
type Position struct {
	Acked uint64 `json:"acked"` // its count at the last line
	Ended bool   `json:"ended,omitempty"`
}

// Reached reports whether nothing of p is missing at o.
func (p Position) Reached(o Position) bool { return o.Acked >= p.Acked && (o.Ended || !p.Ended) }

// State is how far the sources of a log are.
type State map[string]Position

// Lacks reports whether other has something that s has not.
func (s State) Lacks(other State) bool {
	for source, p := range other {
		if !p.Reached(s[source]) {
			return true
		}
	}
	return false
}

// String names a batch in errors.
func (b Batch) String() string { return fmt.Sprintf("%s %d–%d", b.Source, b.After, b.Acked) }

// End is how far a source is with the batch.
func (b Batch) End() Position { return Position{Acked: b.Acked, Ended: b.EOF} }
