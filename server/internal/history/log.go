package history

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// log is one log with at most one open file.
type log struct {
	root *os.Root
	id   string
	o    Options

	mu      sync.Mutex
	file    *os.File // nil until the first append since the server began
	loaded  bool     // index is that of the file
	index   index
	touched time.Time
	changed chan struct{} // closed and replaced at every append
	readers int
}

func newLog(root *os.Root, id string, o Options) *log {
	return &log{root: root, id: id, o: o, index: newIndex(), changed: make(chan struct{}), touched: o.Now()}
}

// path of the log while it grows; compressed it has ".zst" behind.
func path(id string) string { return dir(id) + "/" + id + ".log" }

// dir spreads logs by the end of the id, which is random.
func dir(id string) string { return id[len(id)-2:] }

// append stores what is new in lines that came from a host.
func (l *log) append(source string, lines []*gestorv1.LogLine, eof bool) (Batch, error) {
	attempt, err := attemptOf(source)
	if err != nil {
		return Batch{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openForWriting(); err != nil {
		return Batch{}, err
	}
	l.touched = l.o.Now()
	b, err := l.next(source, attempt, lines, eof)
	if err != nil || l.index.has(b) {
		return b, err
	}
	return b, l.write(b)
}

// next makes a batch of what is new in lines.
func (l *log) next(source string, attempt uint64, lines []*gestorv1.LogLine, eof bool) (Batch, error) {
	at, known := l.index.Sources[source]
	b := Batch{Source: source, After: at.Acked, Acked: at.Acked, EOF: eof}
	add := func(count uint64, line *gestorv1.LogLine) {
		line.Seq = number(attempt, count)
		b.Lines = append(b.Lines, line)
	}
	for _, line := range lines {
		count := line.GetSeq()
		if count >= everything {
			return Batch{}, fault.Invalid("seq", "%d is no number of a line", count)
		}
		if count <= b.Acked {
			continue
		}
		if l.index.Size > l.o.MaxLog {
			add(count, l.notice(fmt.Sprintf("the log has reached %d MiB; further lines are dropped", l.o.MaxLog>>20)))
			b.Acked = everything
			break
		}
		if gap := count - b.Acked - 1; gap > 0 && known && line.GetStream() != gestorv1.LogStream_LOG_STREAM_GESTOR {
			add(count-1, l.notice(fmt.Sprintf("%d lines are missing here", gap)))
		}
		b.Acked, known = count, true
		add(count, &gestorv1.LogLine{At: line.GetAt(), Stream: line.GetStream(), Phase: line.GetPhase(), Text: line.GetText()})
	}
	return b, nil
}

// replicate stores what is new in a batch of another server's, unless lines before it are missing, and returns how far
// the source is then.
func (l *log) replicate(b Batch) (uint64, error) {
	if err := b.check(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openForWriting(); err != nil {
		return 0, err
	}
	l.touched = l.o.Now()
	at := l.index.Sources[b.Source]
	if b.After > at.Acked || l.index.has(b) {
		return at.Acked, nil
	}
	b = b.since(at.Acked)
	if err := l.write(b); err != nil {
		return at.Acked, err
	}
	return b.Acked, l.backdate(b)
}

// backdate gives the file of a log that was fetched late the age of its lines, by which it is deleted one day.
func (l *log) backdate(b Batch) error {
	if len(b.Lines) == 0 {
		return nil
	}
	at := b.Lines[len(b.Lines)-1].GetAt()
	if at == nil || l.o.Now().Sub(at.AsTime()) < l.o.Idle {
		return nil
	}
	return l.root.Chtimes(path(l.id), at.AsTime(), at.AsTime())
}

// notice is a line of Gestor's own.
func (l *log) notice(text string) *gestorv1.LogLine {
	return &gestorv1.LogLine{At: timestamppb.New(l.o.Now()), Stream: gestorv1.LogStream_LOG_STREAM_GESTOR, Text: text}
}

// write appends a batch; after an error the file is as it was.
func (l *log) write(b Batch) error {
	buf, err := b.encode()
	if err != nil {
		return err
	}
	if _, err := l.file.WriteAt(buf, l.index.Size); err != nil {
		return errors.Join(err, l.file.Truncate(l.index.Size))
	}
	l.index.take(b, int64(len(buf)))
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// openForWriting opens the file, inflated if it was compressed, and cuts off what a crash tore.
func (l *log) openForWriting() error {
	if l.file != nil {
		return nil
	}
	if err := l.inflate(); err != nil {
		return err
	}
	if err := l.root.Mkdir(dir(l.id), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := l.root.OpenFile(path(l.id), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := l.load(f); err != nil {
		return errors.Join(err, f.Close())
	}
	l.file = f
	return nil
}

// load reads a file from the beginning to know its numbers, and truncates it behind its last whole frame.
func (l *log) load(f *os.File) error {
	l.index = newIndex()
	torn, err := l.index.scan(bufio.NewReaderSize(f, 256<<10))
	if err != nil {
		return err
	}
	if torn {
		l.o.Log.Warn("log had a torn end", "task", l.id, "bytes", l.index.Size)
		if err := f.Truncate(l.index.Size); err != nil {
			return err
		}
	}
	l.loaded = true
	return nil
}

// ensure knows the log's numbers without changing how it lies on the disk; fs.ErrNotExist if there is none.
func (l *log) ensure() error {
	if l.loaded {
		return nil
	}
	_, err := l.root.Stat(path(l.id))
	if err == nil {
		return l.openForWriting()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	x, err := readCompressedIndex(l.root, l.id)
	if err != nil {
		return err
	}
	l.index, l.loaded = x, true
	return nil
}

// mark is how far a reader may read and what to wait for.
type mark struct {
	size     int64
	attempts []uint64 // in order, if the file has them in another; else empty
	changed  <-chan struct{}
}

// mark returns the state of the log. Where this server has not written to it yet, it is loaded first.
func (l *log) mark() (mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ensure(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mark{}, err
	}
	m := mark{size: l.index.Size, changed: l.changed}
	if l.index.Mixed {
		m.attempts = l.index.attempts()
	}
	return m, nil
}

// state returns how far the sources are.
func (l *log) state() (State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ensure(); err != nil {
		return nil, err
	}
	return maps.Clone(l.index.Sources), nil
}

// close closes the file; the log may be opened again.
func (l *log) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file, l.loaded = nil, false
	return err
}
