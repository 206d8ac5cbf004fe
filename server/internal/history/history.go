// Package history keeps the logs of tasks on disk and lets people read them while they grow.
//
// It does not know what a task is: a log has an id, lines come from sources (one attempt on one node), and who may
// write or read is decided by the callers. A source is "<node>/<attempt>" and counts its lines from 1; the number of a
// line is the attempt in the upper 24 bits and that count below, so it is the same on every server that has the line.
//
// Guarantees. A line is acknowledged once it is written to the file: killing the server loses none, and a frame torn
// by a crash is cut off at the next open. (Power loss may take the last seconds: lines are not synced one by one.)
// Sending lines twice stores them once, and what is stored of a source has no hole. A writer never waits for a reader:
// readers follow the file, not the writer.
package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Store is a directory of logs. Its methods may be called at once from many goroutines.
type Store struct {
	root *os.Root
	o    Options
	done chan struct{} // closed by Close; ends every tail

	mu     sync.Mutex
	logs   map[string]*log // those with a writer or a reader, or lately
	closed bool

	horizon time.Time // logs of that age had no room; guarded by mu
}

// Options says where logs are and how long they stay.
type Options struct {
	Dir        string
	MaxLog     int64            // bytes one log may have before its further lines are dropped; 0 means 256 MiB
	TotalBytes int64            // of all logs; 0 means 10 GiB
	MaxAge     time.Duration    // since the last line; 0 means 90 days
	Idle       time.Duration    // a log this long without a line is closed and compressed; 0 means 10 min
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil discards
}

func (o Options) withDefaults() Options {
	if o.MaxLog <= 0 {
		o.MaxLog = 256 << 20
	}
	if o.TotalBytes <= 0 {
		o.TotalBytes = 10 << 30
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 90 * 24 * time.Hour
	}
	if o.Idle <= 0 {
		o.Idle = 10 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Open opens the store.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	return &Store{root: root, o: o, done: make(chan struct{}), logs: map[string]*log{}}, nil
}

// Close ends all tails and closes the files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, s.root.Close())...)
}

// Append stores lines of a source, in its own count, and returns the highest count that is stored. Lines at or below
// it are dropped, so a chunk may come again; counts that are skipped leave a line that says so. With eof the source
// has no more lines.
func (s *Store) Append(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (uint64, error) {
	b, err := s.Take(ctx, id, source, lines, eof)
	return b.Answer(lines), err
}

// Answer is what the host of these lines is told: the highest count it need not send again.
func (b Batch) Answer(lines []*gestorv1.LogLine) uint64 {
	if n := len(lines); n > 0 && b.Full() {
		return lines[n-1].GetSeq()
	}
	return b.Acked
}

// Take is Append for who passes the lines on: it returns what was new, numbered.
func (s *Store) Take(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (Batch, error) {
	if err := ctx.Err(); err != nil {
		return Batch{}, err
	}
	l, err := s.open(id)
	if err != nil {
		return Batch{}, err
	}
	b, err := l.append(source, lines, eof)
	return b, explain(err, id)
}

// Replicate stores what is new in a batch of another server, and returns how far its source is then: less than
// b.Acked if lines before the batch are missing here, when it stores nothing.
func (s *Store) Replicate(ctx context.Context, id string, b Batch) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l, err := s.open(id)
	if err != nil {
		return 0, err
	}
	acked, err := l.replicate(b)
	return acked, explain(err, id)
}

// State returns how far the sources of a log are; it is empty for a log that is not here.
func (s *Store) State(id string) (State, error) {
	if !validID.MatchString(id) {
		return nil, fault.Invalid("log_id", "must be a task's id")
	}
	if x, rests, err := s.atRest(id); rests || err != nil {
		return x.Sources, explain(err, id)
	}
	l, err := s.open(id)
	if err != nil {
		return nil, err
	}
	state, err := l.state()
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	return state, explain(err, id)
}

// atRest is the index of a log that nobody uses and that lies compressed, or is not here at all.
func (s *Store) atRest(id string) (x index, rests bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, live := s.logs[id]; live || s.closed {
		return index{}, false, nil
	}
	if _, err := s.root.Stat(path(id)); err == nil {
		return index{}, false, nil // it is plain, or its plain form is the newer one
	}
	x, err = readCompressedIndex(s.root, id)
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(), true, nil
	}
	return x, true, err
}

// open returns the log of that id, which is made at its first line.
func (s *Store) open(id string) (*log, error) {
	if !validID.MatchString(id) {
		return nil, fault.Invalid("log_id", "must be a task's id")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.Unavailable("the server is stopping")
	}
	l, ok := s.logs[id]
	if !ok {
		l = newLog(s.root, id, s.o)
		s.logs[id] = l
	}
	l.touch() // under the store's lock, so that Prune does not take it away from the caller
	return l, nil
}

// validID is what becomes a file name.
var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{4,100}$`)

func explain(err error, id string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Exhausted("the server's disk is full, lines of log %s were not stored", id).
			WithFix("free space in the server's data directory; agents keep the lines meanwhile").
			WithRetryAfter(5 * time.Second).WithCause(err)
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound("there is no log %s on this server", id).WithCause(err)
	}
	return fmt.Errorf("log %s: %w", id, err)
}
