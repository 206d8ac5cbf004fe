package history

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sort"

	"github.com/klauspost/compress/zstd"
)

// index is what is known of a log's file.
type index struct {
	Size    int64  `json:"size"` // whole frames, uncompressed
	Sources State  `json:"sources"`
	Mixed   bool   `json:"mixed,omitempty"` // frames of an earlier attempt stand behind frames of a later one
	Top     uint64 `json:"top"`             // the latest attempt

	points []point // now and then, to begin reading at; only of a file that is not compressed
}

// point is a place between two frames, and how far the sources are there.
type point struct {
	offset  int64
	sources State
}

// pointEvery is about how far points are from each other.
const pointEvery = 1 << 20

func newIndex() index { return index{Sources: State{}} }

// take counts a frame that is in the file.
func (x *index) take(b Batch, bytes int64) {
	x.Size += bytes
	at := x.Sources[b.Source]
	x.Sources[b.Source] = Position{Acked: max(at.Acked, b.Acked), Ended: at.Ended || b.EOF}
	attempt, _ := attemptOf(b.Source) // was checked before it was written
	x.Mixed = x.Mixed || attempt < x.Top
	x.Top = max(x.Top, attempt)
	if n := len(x.points); n == 0 && x.Size >= pointEvery || n > 0 && x.Size-x.points[n-1].offset >= pointEvery {
		x.points = append(x.points, point{x.Size, maps.Clone(x.Sources)})
	}
}

// before is the last point before everything that who is at after lacks of the sources that matter.
func (x *index) before(after map[string]uint64, matters func(source string) bool) point {
	i := sort.Search(len(x.points), func(i int) bool {
		for source, at := range x.points[i].sources {
			if matters(source) && (at.Ended || at.Acked > after[source]) {
				return true
			}
		}
		return false
	})
	if i == 0 {
		return point{}
	}
	return x.points[i-1]
}

// has reports whether a batch brings nothing new.
func (x *index) has(b Batch) bool {
	at, known := x.Sources[b.Source]
	return (Position{b.Acked, b.EOF}).Reached(at) && (known || b.Acked == 0 && !b.EOF)
}

// attempts are those of the sources, in order.
func (x *index) attempts() []uint64 {
	var out []uint64
	for source := range maps.Keys(x.Sources) {
		attempt, _ := attemptOf(source)
		out = append(out, attempt)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// scan takes all frames of r, and reports whether what is behind them is no frame.
func (x *index) scan(r *bufio.Reader) (torn bool, err error) {
	for {
		b, n, err := readFrame(r)
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case errors.Is(err, errTorn):
			return true, nil
		case err != nil:
			return false, err
		}
		x.take(b, n)
	}
}

// A compressed log ends with its index: a skippable frame of Zstandard, which decoders pass over, with the index as
// JSON and its length in the last four bytes. So how far a log is can be told without inflating it.
const (
	skippable    = 0x184D2A5E
	maxIndexSize = 1 << 20
)

// append writes the index behind a compressed log.
func (x *index) append(w io.Writer) error {
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	var frame []byte
	frame = binary.LittleEndian.AppendUint32(frame, skippable)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(data)+4))
	frame = append(frame, data...)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(data)))
	_, err = w.Write(frame)
	return err
}

// readCompressedIndex returns the index of a compressed log, from its end or else from its frames; fs.ErrNotExist if
// there is no such log.
func readCompressedIndex(root *os.Root, id string) (index, error) {
	f, err := root.Open(path(id) + ".zst")
	if err != nil {
		return index{}, err
	}
	defer func() { _ = f.Close() }() // read only
	if x, ok := readTrailer(f); ok {
		return x, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return index{}, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(decoderMemory))
	if err != nil {
		return index{}, err
	}
	defer z.Close()
	x := newIndex()
	_, err = x.scan(bufio.NewReaderSize(z, 256<<10))
	return x, err
}

func readTrailer(f fs.File) (index, bool) {
	at, ok := f.(io.ReaderAt)
	fi, err := f.Stat()
	if !ok || err != nil || fi.Size() < 12 {
		return index{}, false
	}
	var word [4]byte
	if _, err := at.ReadAt(word[:], fi.Size()-4); err != nil {
		return index{}, false
	}
	size := int64(binary.LittleEndian.Uint32(word[:]))
	if size > maxIndexSize || size+12 > fi.Size() {
		return index{}, false
	}
	frame := make([]byte, size+8)
	if _, err := at.ReadAt(frame, fi.Size()-size-12); err != nil {
		return index{}, false
	}
	x := newIndex()
	if binary.LittleEndian.Uint32(frame) != skippable || json.Unmarshal(frame[8:], &x) != nil || x.Sources == nil {
		return index{}, false
	}
	return x, true
}
