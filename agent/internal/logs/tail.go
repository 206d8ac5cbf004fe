package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const (
	appLog     = "shared/logs/app.log" // below an app's folder; older output is in app.log.1
	pollEvery  = 250 * time.Millisecond
	tailBuffer = 256 << 10 // bytes of lines waiting to be sent
	maxTails   = 64
)

// TailRequest says what to follow.
type TailRequest struct {
	ID     string // the log id to send it under
	Root   string // the app's folder
	Last   int    // begin with so many lines
	Follow bool   // go on
}

// Tail follows an app's log file. It is not spooled: it lives as long as its session, and the file is its memory.
type Tail struct {
	store  *Store
	id     string
	cancel context.CancelFunc
	done   chan struct{}
	over   func(error)

	mu    sync.Mutex // guards everything below
	room  *sync.Cond
	lines []*gestorv1.LogLine
	bytes int
	seq   uint64
	ended bool // nothing more comes
	err   error
	eof   bool // that was sent
}

// OpenTail starts sending an app's output under r.ID. over is called, and must not block, when the tail came to its end
// and everything read was acknowledged; err is nil if that is everything asked for. CloseTail and CloseTails end it without.
func (s *Store) OpenTail(r TailRequest, over func(err error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tails[r.ID]; ok {
		return nil
	}
	if len(s.tails) >= maxTails {
		return fault.Exhausted("this node follows %d logs already", maxTails)
	}
	ctx, cancel := context.WithCancel(context.Background()) // lives until CloseTail
	t := &Tail{store: s, id: r.ID, cancel: cancel, done: make(chan struct{}), over: over}
	t.room = sync.NewCond(&t.mu)
	s.tails[r.ID] = t
	go func() {
		defer close(t.done)
		t.stop(t.run(ctx, r))
	}()
	return nil
}

// CloseTail ends a tail and waits for it; an unknown one is no error.
func (s *Store) CloseTail(id string) {
	s.mu.Lock()
	t, ok := s.tails[id]
	delete(s.tails, id)
	s.mu.Unlock()
	if ok {
		t.stop(nil)
		<-t.done
	}
}

// CloseTails ends all tails, as when the session they were opened in is over.
func (s *Store) CloseTails() {
	s.mu.Lock()
	ids := make([]string, 0, len(s.tails))
	for id := range s.tails {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.CloseTail(id)
	}
}

// stop lets the sender know that no more lines come.
func (t *Tail) stop(err error) {
	t.mu.Lock()
	if !t.ended {
		t.ended, t.err = true, err
	}
	t.room.Broadcast()
	t.mu.Unlock()
	t.cancel()
	t.store.signal()
}

// finished tells whether the end was sent, and why it ended.
func (t *Tail) finished() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.eof, t.err
}

// next takes the lines that wait; the store's lock is held.
func (t *Tail) next() *agentv1.PushLogsRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 && (!t.ended || t.eof) {
		return nil
	}
	n, size := 0, 0
	for n < len(t.lines) && size < maxBatch-maxLine {
		size += len(t.lines[n].GetText()) + lineBytes
		n++
	}
	m := &agentv1.PushLogsRequest{LogId: t.id, Lines: t.lines[:n:n]}
	t.lines, t.bytes = t.lines[n:], t.bytes-size
	if t.ended && len(t.lines) == 0 {
		m.Eof, t.eof = true, true
	}
	t.room.Broadcast()
	return m
}

// add waits while the buffer is full: the reader goes no faster than the wire.
func (t *Tail) add(text string) {
	t.mu.Lock()
	for t.bytes >= tailBuffer && !t.ended {
		t.room.Wait()
	}
	if !t.ended {
		t.seq++
		t.bytes += len(text) + lineBytes
		t.lines = append(t.lines, &gestorv1.LogLine{
			Seq: t.seq, At: timestamppb.Now(), Stream: gestorv1.LogStream_LOG_STREAM_STDOUT, Text: text,
		})
	}
	t.mu.Unlock()
	t.store.signal()
}

func (t *Tail) run(ctx context.Context, r TailRequest) error {
	root, err := os.OpenRoot(r.Root)
	if errors.Is(err, os.ErrNotExist) {
		return fault.NotFound("the app is not on this node")
	}
	if err != nil {
		return fmt.Errorf("open app folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	out := newStream(NewPatterns(nil), t.store.known, t.add)
	f, err := t.history(root, r, out)
	if err != nil || !r.Follow {
		if f != nil {
			_ = f.Close()
		}
		out.flush()
		return err
	}
	return follow(ctx, root, f, out)
}

// history writes the last lines and returns the log file at its end; nil if there is none yet.
func (t *Tail) history(root *os.Root, r TailRequest, out io.Writer) (*os.File, error) {
	current, err := openRegular(root, appLog)
	if err != nil {
		return nil, err
	}
	missing := r.Last
	var from int64
	if current != nil {
		if from, missing, err = lastLines(current, r.Last); err != nil {
			return current, err
		}
	}
	if missing > 0 {
		if err := copyOlder(root, missing, out); err != nil {
			return current, err
		}
	}
	if current == nil {
		return nil, nil
	}
	if _, err := current.Seek(from, io.SeekStart); err != nil {
		return current, fmt.Errorf("read log: %w", err)
	}
	_, err = io.Copy(out, current)
	return current, err
}

func copyOlder(root *os.Root, lines int, out io.Writer) error {
	older, err := openRegular(root, appLog+".1")
	if err != nil || older == nil {
		return err
	}
	defer func() { _ = older.Close() }()
	from, _, err := lastLines(older, lines)
	if err != nil {
		return err
	}
	if _, err := older.Seek(from, io.SeekStart); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	_, err = io.Copy(out, older)
	return err
}

// follow copies what is appended to the log, across its rotation, until ctx ends.
func follow(ctx context.Context, root *os.Root, f *os.File, out io.Writer) (err error) {
	defer func() {
		if f != nil {
			_ = f.Close()
		}
	}()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if f, err = catchUp(root, f, out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// catchUp copies what f got, and moves on to the file that took its place.
func catchUp(root *os.Root, f *os.File, out io.Writer) (*os.File, error) {
	for {
		if f != nil {
			if _, err := io.Copy(out, f); err != nil {
				return f, fmt.Errorf("read log: %w", err)
			}
			moved, err := replaced(root, f)
			if err != nil || !moved {
				return f, err
			}
			if _, err := io.Copy(out, f); err != nil { // what came between the copy and the rotation
				return f, fmt.Errorf("read log: %w", err)
			}
			_ = f.Close()
		}
		next, err := openRegular(root, appLog)
		if next == nil || err != nil {
			return nil, err
		}
		f = next
	}
}

// replaced tells whether another file is in f's place. A file that became shorter is read from its beginning again.
func replaced(root *os.Root, f *os.File) (bool, error) {
	now, err := root.Lstat(appLog)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // between the two steps of a rotation
	}
	if err != nil {
		return false, fmt.Errorf("look at log: %w", err)
	}
	mine, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("look at log: %w", err)
	}
	if !os.SameFile(now, mine) {
		return true, nil
	}
	offset, err := f.Seek(0, io.SeekCurrent)
	if err == nil && mine.Size() < offset {
		_, err = f.Seek(0, io.SeekStart)
	}
	return false, err
}
