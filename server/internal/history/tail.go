package history

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// TailOptions says what to read.
type TailOptions struct {
	After  uint64 // only lines after this number; lines of earlier attempts that come later are shown all the same
	Last   int    // only the last so many lines of what is there; 0 means all
	Follow bool   // go on with lines to come
	// SkipLate leaves out lines of attempts before that of After which come later: the reader may have got them from
	// another server.
	SkipLate bool
	// Ended is closed once nothing more will be logged but for what is under way, which Follow then waits for a
	// moment. A nil channel ends following at the end of the current source.
	Ended <-chan struct{}
}

// settle is how long a tail waits for the rest of a log whose task has ended.
const settle = 5 * time.Second

// batchLines bounds what a tail hands out at once.
const batchLines = 1000

// Tail reads a log: what is there in the order of its numbers, what comes then as it comes. It yields an error as its
// last element, if there is one; a log without lines is empty. It ends with ctx, with Close, when the caller stops, or when everything asked for was read.
func (s *Store) Tail(ctx context.Context, id string, o TailOptions) iter.Seq2[[]*gestorv1.LogLine, error] {
	return func(yield func([]*gestorv1.LogLine, error) bool) {
		l, err := s.open(id)
		if err != nil {
			yield(nil, err)
			return
		}
		l.enter(1)
		defer l.enter(-1)
		t := &tail{log: l, o: o, done: s.done, yield: yield}
		if err := t.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(nil, explain(err, id))
		}
	}
}

// errStopped means that the caller left the loop.
var errStopped = errors.New("reader left")

func (l *log) enter(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers += n
	l.touched = l.o.Now()
}

func (l *log) touch() { l.enter(0) }

type tail struct {
	log    *log
	o      TailOptions
	done   <-chan struct{}
	yield  func([]*gestorv1.LogLine, error) bool
	offset int64
	top    uint64 // the latest attempt read
	eof    bool   // that attempt has ended
}

func (t *tail) run(ctx context.Context) error {
	m, err := t.log.mark()
	if err != nil {
		return err
	}
	if err := t.first(ctx, m); err != nil || !t.o.Follow {
		return err
	}
	return t.follow(ctx, m)
}

// first reads what is there.
func (t *tail) first(ctx context.Context, m mark) error {
	keep := t.emit
	var ring [][]*gestorv1.LogLine
	count := 0
	if t.o.Last > 0 {
		keep = func(lines []*gestorv1.LogLine) error {
			ring, count = append(ring, lines), count+len(lines)
			for len(ring) > 0 && count-len(ring[0]) >= t.o.Last {
				count -= len(ring[0])
				ring = ring[1:]
			}
			return nil
		}
	}
	if err := t.passes(ctx, m, keep); err != nil {
		return err
	}
	for i, lines := range ring {
		if i == 0 {
			lines = lines[max(0, count-t.o.Last):]
		}
		if err := t.emit(lines); err != nil {
			return err
		}
	}
	return nil
}

// passes hands out what is there in order: attempt by attempt, if the file has them in another.
func (t *tail) passes(ctx context.Context, m mark, use func([]*gestorv1.LogLine) error) error {
	above := func(_, seq uint64) bool { return seq > t.o.After }
	if len(m.attempts) == 0 {
		return t.read(ctx, m, above, use)
	}
	for _, attempt := range m.attempts {
		t.offset = 0
		this := func(of, seq uint64) bool { return of == attempt && seq > t.o.After }
		if err := t.read(ctx, m, this, use); err != nil {
			return err
		}
	}
	return nil
}

// fresh decides what is shown of what comes while following.
func (t *tail) fresh(attempt, seq uint64) bool {
	return seq > t.o.After || !t.o.SkipLate && attempt < t.o.After>>countBits
}

// follow reads on whenever the log grows.
func (t *tail) follow(ctx context.Context, m mark) error {
	ended := t.o.Ended
	var settled <-chan time.Time
	for {
		if t.eof && (t.o.Ended == nil || ended == nil) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.done:
			return nil
		case <-settled:
			return nil
		case <-ended:
			ended = nil
			timer := time.NewTimer(settle)
			defer timer.Stop()
			settled = timer.C
		case <-m.changed:
		}
		var err error
		if m, err = t.log.mark(); err != nil {
			return err
		}
		if err := t.read(ctx, m, t.fresh, t.emit); err != nil {
			return err
		}
	}
}

// read hands the wanted lines between the offset and the mark to use, a frame at a time.
func (t *tail) read(ctx context.Context, m mark, want func(attempt, seq uint64) bool, use func([]*gestorv1.LogLine) error) error {
	return t.log.frames(ctx, m, &t.offset, func(b Batch) error {
		attempt, err := attemptOf(b.Source)
		if err != nil {
			return err
		}
		if attempt >= t.top {
			t.eof = b.EOF || t.eof && attempt == t.top
			t.top = attempt
		}
		lines := slices.DeleteFunc(b.Lines, func(l *gestorv1.LogLine) bool { return !want(attempt, l.GetSeq()) })
		if len(lines) == 0 {
			return nil
		}
		return use(lines)
	})
}

// frames hands the frames between the offset, which it moves, and the mark to use.
func (l *log) frames(ctx context.Context, m mark, offset *int64, use func(Batch) error) error {
	src, err := l.source(m, *offset)
	if err != nil || src == nil {
		return err
	}
	defer func() { _ = src.Close() }() // read only
	r := bufio.NewReaderSize(src, 64<<10)
	for ctx.Err() == nil {
		b, n, err := readFrame(r)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return err
		}
		*offset += n
		if err := use(b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// source opens what is between the offset and the mark; nil if there is nothing.
func (l *log) source(m mark, offset int64) (io.ReadCloser, error) {
	if offset >= m.size {
		return nil, nil
	}
	f, err := l.root.Open(path(l.id))
	if errors.Is(err, fs.ErrNotExist) {
		return l.openCompressed(offset)
	}
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, m.size-offset), f}, nil
}

// decoderMemory bounds what reading a compressed log takes.
const decoderMemory = 64 << 20

// openCompressed opens the compressed form from an offset of the plain one; nil if there is none.
func (l *log) openCompressed(offset int64) (io.ReadCloser, error) {
	f, err := l.root.Open(path(l.id) + ".zst")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(decoderMemory))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := io.CopyN(io.Discard, z, offset); err != nil && !errors.Is(err, io.EOF) {
		z.Close()
		return nil, errors.Join(err, f.Close())
	}
	return compressed{z, f}, nil
}

type compressed struct {
	*zstd.Decoder
	file *os.File
}

func (c compressed) Close() error {
	c.Decoder.Close()
	return c.file.Close()
}

func (t *tail) emit(lines []*gestorv1.LogLine) error {
	for len(lines) > 0 {
		n := min(len(lines), batchLines)
		if !t.yield(lines[:n], nil) {
			return errStopped
		}
		lines = lines[n:]
	}
	return nil
}
