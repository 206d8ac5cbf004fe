package history

import (
	"context"
	"errors"
	"iter"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Batches reads a log as it was written, to be copied: what each source has beyond its count in after. It yields an
// error as its last element, if there is one; it does not follow.
func (s *Store) Batches(ctx context.Context, id string, after map[string]uint64) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		l, err := s.open(id)
		if err != nil {
			yield(Batch{}, err)
			return
		}
		l.enter(1)
		defer l.enter(-1)
		if err := l.batches(ctx, after, func(b Batch) bool { return yield(b, nil) }); err != nil && !errors.Is(err, errStopped) {
			yield(Batch{}, explain(err, id))
		}
	}
}

func (l *log) batches(ctx context.Context, after map[string]uint64, yield func(Batch) bool) error {
	m, err := l.mark()
	if err != nil {
		return err
	}
	before := map[string]uint64{}
	var offset int64
	return l.frames(ctx, m, &offset, func(b Batch) error {
		b.After = before[b.Source]
		before[b.Source] = b.Acked
		from := after[b.Source]
		if b.Acked <= from && !b.EOF {
			return nil
		}
		if !yield(b.since(from)) {
			return errStopped
		}
		return nil
	})
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
