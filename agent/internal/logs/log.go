package logs

import (
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const (
	maxBatch   = 64 << 10              // bytes of lines in one message
	maxWait    = 50 * time.Millisecond // how long a line may wait for company
	lineBytes  = 32                    // what a line costs beside its text and phase
	ownWarning = "… %d lines were dropped here: the log spool of this host was full"
)

// Log is the log of one task. It is safe for concurrent use.
type Log struct {
	store   *Store
	id      string
	attempt int32
	stdout  *stream
	stderr  *stream
	own     *stream

	mu     sync.Mutex // guards everything below
	phase  string
	seq    uint64 // of the last line
	batch  []*gestorv1.LogLine
	bytes  int
	timer  *time.Timer // writes the batch when it has waited long enough
	closed bool
}

// Phase stamps the lines that follow.
func (l *Log) Phase(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = name
}

// Logf writes a line of Gestor's own. Secrets in it are redacted like those of programs.
func (l *Log) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(l.own, format+"\n", args...)
}

// Stdout takes raw output.
func (l *Log) Stdout() io.Writer { return l.stdout }

// Stderr takes raw error output.
func (l *Log) Stderr() io.Writer { return l.stderr }

// Close ends the log: nothing is taken any more, and the servers are told that it is whole.
func (l *Log) Close() {
	if l.leave() {
		l.store.finish(l.id)
	}
}

// Leave spools what there is and takes nothing any more, but the log is not whole: Open goes on with it. After Close
// it does nothing.
func (l *Log) Leave() { l.leave() }

func (l *Log) leave() bool {
	for _, s := range []*stream{l.stdout, l.stderr, l.own} {
		s.flush()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.flush()
	l.closed = true
	return true
}

func (l *Log) add(from gestorv1.LogStream, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.seq++
	l.batch = append(l.batch, &gestorv1.LogLine{Seq: l.seq, At: timestamppb.Now(), Stream: from, Phase: l.phase, Text: text})
	l.bytes += len(text) + len(l.phase) + lineBytes
	switch {
	case l.bytes >= maxBatch-maxLine:
		l.flush()
	case l.timer == nil:
		l.timer = time.AfterFunc(maxWait, l.flushLate)
	}
}

func (l *Log) flushLate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// flush hands the batch to the spool; l.mu is held.
func (l *Log) flush() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.batch) == 0 {
		return
	}
	l.store.append(l.id, &agentv1.PushLogsRequest{LogId: l.id, Attempt: l.attempt, Lines: l.batch})
	l.batch, l.bytes = nil, 0
}

// stream is one of a log's ways in: clean, redact, split.
type stream struct {
	mu     sync.Mutex // guards everything below
	clean  cleaner
	redact *Redactor
	split  *splitter
	a, b   []byte // buffers between the steps
}

func newStream(p *Patterns, known []shape, emit func(string)) *stream {
	return &stream{redact: NewRedactor(p), split: newSplitter(known, emit)}
}

// Write never fails: what cannot be kept is dropped and marked.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), maxBatch) // keeps the buffers small
		s.a = s.clean.Clean(s.a[:0], p[:n])
		s.b = s.redact.Redact(s.b[:0], s.a)
		s.split.write(s.b)
		p = p[n:]
	}
	return total, nil
}

func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.a = s.clean.Flush(s.a[:0])
	s.b = s.redact.Redact(s.b[:0], s.a)
	s.b = s.redact.Flush(s.b)
	s.split.write(s.b)
	s.split.flush()
}
