package history

import (
	"context"
	"errors"
	"iter"
	"maps"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Batches reads a log as it was written, to be copied: what each source has beyond its count in after. It yields an
// error as its last element, if there is one; it does not follow.
func (s *Store) Batches(ctx context.Context, id string, after map[string]uint64) iter.Seq2[Batch, error] {
	return s.batches(ctx, id, after, func(string) bool { return true })
}

// BatchesOf is Batches for one source.
func (s *Store) BatchesOf(ctx context.Context, id, source string, after uint64) iter.Seq2[Batch, error] {
	return s.batches(ctx, id, map[string]uint64{source: after}, func(other string) bool { return other == source })
}

func (s *Store) batches(ctx context.Context, id string, after map[string]uint64, want func(source string) bool) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		l, err := s.open(id)
		if err != nil {
			yield(Batch{}, err)
			return
		}
		l.enter(1)
		defer l.enter(-1)
		if err := l.copy(ctx, after, want, func(b Batch) bool { return yield(b, nil) }); err != nil && !errors.Is(err, errStopped) {
			yield(Batch{}, explain(err, id))
		}
	}
}

func (l *log) copy(ctx context.Context, after map[string]uint64, want func(source string) bool, yield func(Batch) bool) error {
	m, err := l.mark()
	if err != nil {
		return err
	}
	begin := l.before(after, want)
	passed := State{}
	maps.Copy(passed, begin.sources)
	return l.frames(ctx, m, &begin.offset, func(b Batch) error {
		b.After = passed[b.Source].Acked
		passed[b.Source] = b.End()
		from := after[b.Source]
		if !want(b.Source) || b.Acked <= from && !b.EOF {
			return nil
		}
		if !yield(b.since(from)) {
			return errStopped
		}
		return nil
	})
}

func (l *log) before(after map[string]uint64, want func(source string) bool) point {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index.before(after, want)
}

// Join puts batches that follow each other together, as far as they have at most so many bytes in all. It returns how
// many it took.
func Join(batches []Batch, maxBytes int) (Batch, int) {
	out, bytes := batches[0], batches[0].Bytes()
	n := 1
	for ; n < len(batches); n++ {
		next := batches[n]
		if next.Source != out.Source || next.After != out.Acked || bytes+next.Bytes() > maxBytes {
			break
		}
		if n == 1 {
			out.Lines = append(make([]*gestorv1.LogLine, 0, 2*len(out.Lines)+len(next.Lines)), out.Lines...)
		}
		out.Lines, out.Acked, out.EOF = append(out.Lines, next.Lines...), next.Acked, out.EOF || next.EOF
		bytes += next.Bytes()
	}
	return out, n
}

// Bytes is about how much a batch takes.
func (b Batch) Bytes() int {
	n := 64
	for _, line := range b.Lines {
		n += len(line.GetText()) + len(line.GetPhase()) + 32
	}
	return n
}
