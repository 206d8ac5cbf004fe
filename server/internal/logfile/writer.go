package logfile

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// What waits for the disk at most: lines, and so about 4 MB.
const queueLines = 8192

// closePatience is how long Close waits for what is still to be written.
const closePatience = 2 * time.Second

// writer writes lines to a file in the background. It is safe for concurrent use.
type writer struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Uint64
	failing func(error) // is told of the first of several failures
	reopen  chan struct{}

	mu     sync.RWMutex
	closed bool // guarded by mu
	done   chan struct{}
}

func newWriter(out io.Writer, failing func(error)) *writer {
	w := &writer{out: out, lines: make(chan []byte, queueLines), failing: failing, reopen: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run() // ends with Close
	return w
}

// Write queues one line. It never waits and never fails: what finds no room is dropped and counted.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		w.dropped.Add(1)
		return len(p), nil
	}
	select {
	case w.lines <- append([]byte(nil), p...):
	default:
		w.dropped.Add(1)
	}
	return len(p), nil
}

func (w *writer) run() {
	defer close(w.done)
	torn, failed := false, false
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				return
			}
			if torn { // part of a line is there already; it must not swallow this one
				line = append([]byte{'\n'}, line...)
			}
			n, err := w.out.Write(line)
			torn = err != nil && (n > 0 || torn)
			if err != nil {
				w.dropped.Add(1)
				if !failed {
					w.failing(err)
				}
			}
			failed = err != nil
		case <-w.reopen:
			if f, ok := w.out.(*lumberjack.Logger); ok {
				_ = f.Close() // the next line opens it under its name
				torn = false
			}
		}
	}
}

// Reopen makes the next line go to a file that is opened anew.
func (w *writer) Reopen() {
	select {
	case w.reopen <- struct{}{}:
	default:
	}
}

// Close writes what waits, unless the disk takes too long.
func (w *writer) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
		if c, ok := w.out.(io.Closer); ok {
			return c.Close()
		}
	case <-time.After(closePatience):
	}
	return nil
}
