package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// log is one log with at most one open file.
type log struct {
	root *os.Root
	id   string
	o    Options

	mu      sync.Mutex
	file    *os.File // nil until the first append since the server began
	loaded  bool     // the fields below are those of the file
	size    int64    // whole frames
	seq     uint64   // last number given
	sources map[string]uint64
	last    string // the source of the last frame
	eof     bool   // that source has ended
	full    bool   // MaxLog is reached
	touched time.Time
	changed chan struct{} // closed and replaced at every append
	readers int
}

func newLog(root *os.Root, id string, o Options) *log {
	return &log{root: root, id: id, o: o, changed: make(chan struct{}), touched: o.Now()}
}

// path of the log while it grows; compressed it has ".zst" behind.
func path(id string) string { return dir(id) + "/" + id + ".log" }

// dir spreads logs by the end of the id, which is random.
func dir(id string) string { return id[len(id)-2:] }

func (l *log) append(source string, lines []*gestorv1.LogLine, eof bool) (uint64, error) {
	if len(source) > maxSourceLen {
		return 0, fmt.Errorf("log source %q is too long", source)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openForWriting(); err != nil {
		return 0, err
	}
	l.touched = l.o.Now()
	f := l.next(source, lines, eof)
	if len(f.lines) == 0 && (!eof || l.eof && l.last == source) {
		return max(l.sources[source], f.acked), nil
	}
	if err := l.write(f); err != nil {
		return 0, err
	}
	return l.sources[source], nil
}

// next makes the frame of what is new in lines.
func (l *log) next(source string, lines []*gestorv1.LogLine, eof bool) frame {
	acked, known := l.sources[source]
	f := frame{source: source, acked: acked, eof: eof}
	seq := l.seq
	add := func(line *gestorv1.LogLine) {
		seq++
		line.Seq = seq
		f.lines = append(f.lines, line)
	}
	for _, line := range lines {
		if line.GetSeq() <= f.acked {
			continue
		}
		if gap := line.GetSeq() - f.acked - 1; gap > 0 && known && !l.full && line.GetStream() != gestorv1.LogStream_LOG_STREAM_GESTOR {
			add(l.notice(fmt.Sprintf("%d lines are missing here", gap)))
		}
		f.acked, known = line.GetSeq(), true
		if !l.full {
			add(proto.CloneOf(line))
		}
	}
	if !l.full && l.size > l.o.MaxLog && len(f.lines) > 0 {
		l.full = true
		f.lines, seq = nil, l.seq
		add(l.notice(fmt.Sprintf("the log has reached %d MiB; further lines are dropped", l.o.MaxLog>>20)))
	}
	return f
}

// notice is a line of Gestor's own.
func (l *log) notice(text string) *gestorv1.LogLine {
	return &gestorv1.LogLine{At: timestamppb.New(l.o.Now()), Stream: gestorv1.LogStream_LOG_STREAM_GESTOR, Text: text}
}

// write appends a frame; after an error the file is as it was.
func (l *log) write(f frame) error {
	buf, err := f.encode()
	if err != nil {
		return err
	}
	if _, err := l.file.WriteAt(buf, l.size); err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.take(f, int64(len(buf)))
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// take counts a frame that is in the file.
func (l *log) take(f frame, bytes int64) {
	l.size += bytes
	l.sources[f.source] = f.acked
	l.last, l.eof = f.source, f.eof
	if n := len(f.lines); n > 0 {
		l.seq = f.lines[n-1].GetSeq()
	}
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
	l.size, l.seq, l.sources, l.last, l.eof = 0, 0, map[string]uint64{}, "", false
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		fr, n, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errTorn) {
			l.o.Log.Warn("log had a torn end", "task", l.id, "bytes", l.size)
			if err := f.Truncate(l.size); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
		l.take(fr, n)
	}
	l.loaded = true
	return nil
}

// mark is how far a reader may read and what to wait for.
type mark struct {
	size    int64
	changed <-chan struct{}
}

// mark returns the state of the log. Where this server has not written to it yet, it is loaded first.
func (l *log) mark() (mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded {
		err := l.openForWritingIfThere()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return mark{}, err
		}
	}
	return mark{size: l.size, changed: l.changed}, nil
}

func (l *log) openForWritingIfThere() error {
	if _, err := l.root.Stat(path(l.id)); err != nil {
		return err
	}
	return l.openForWriting()
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
