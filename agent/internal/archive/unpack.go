package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Limits bound an archive. A zero field takes the default.
type Limits struct {
	// Bytes is the most that all files may take together; 10 GiB by default.
	Bytes int64
	// Files is the most entries; a million by default.
	Files int64
	// Ratio is how many times larger than the archive the tree may be, once it is over 64 MiB; 1000 by default.
	Ratio int64
	// PathLen is the longest path in bytes; 1024 by default.
	PathLen int
	// Depth is the deepest path in names; 64 by default.
	Depth int
}

const (
	defaultPathLen = 1024
	defaultDepth   = 64
	ratioFloor     = 64 << 20 // below this no ratio is suspicious
	maxWindow      = 64 << 20 // memory a hostile frame can make the decoder take
)

func (l Limits) withDefaults() Limits {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Bytes, 10<<30)
	set(&l.Files, 1_000_000)
	set(&l.Ratio, 1000)
	if l.PathLen == 0 {
		l.PathLen = defaultPathLen
	}
	if l.Depth == 0 {
		l.Depth = defaultDepth
	}
	return l
}

// Unpack writes the archive in r into root, which should be empty and must not be changed by anybody else. It reads r to
// its end. Files belong to the caller, with modes 0644 or 0755 whatever the umask. On an error the tree is partial. An
// archive that breaks a rule is a fault of kind invalid; a full disk is one of kind exhausted.
func Unpack(ctx context.Context, r io.Reader, root *os.Root, l Limits) (Summary, error) {
	return UnpackLike(ctx, r, root, l, nil)
}

// UnpackLike is Unpack beside an earlier tree on the same file system, which like is open on: a file that is there under
// the same name with the same content becomes a hard link to it, with its time. That costs neither space nor writing,
// and web caches stay right. The trees must be such that nobody writes into their files. like may be nil.
func UnpackLike(ctx context.Context, r io.Reader, root *os.Root, l Limits, like *os.Root) (Summary, error) {
	in := &input{ctx: ctx, r: r, hash: sha256.New()}
	dec, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return Summary{}, refused(err)
	}
	defer dec.Close()
	u := &unpacker{
		in: in, tar: tar.NewReader(dec), root: root, like: like, limits: l.withDefaults(),
		seen: map[string]byte{".": tar.TypeDir}, buf: make([]byte, 128<<10),
	}
	defer u.leave()
	if err := u.all(); err != nil {
		return Summary{}, u.explain(err)
	}
	if err := atEnd(dec); err != nil {
		return Summary{}, u.explain(err)
	}
	u.sum.Digest, u.sum.Bytes = hex.EncodeToString(in.hash.Sum(nil)), in.n
	return u.sum, nil
}

// atEnd checks that nothing follows the archive, which also checks the last frame's checksum.
func atEnd(r io.Reader) error {
	n, err := io.CopyN(io.Discard, r, 1)
	if n != 0 {
		return errors.New("something follows its end")
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// input is the compressed archive: counted, hashed, and ended by the context.
type input struct {
	ctx  context.Context //nolint:containedctx // lives for one call of Unpack
	r    io.Reader
	hash hash.Hash
	n    int64
	err  error // why reading ended, if not at the end
}

func (i *input) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		i.err = context.Cause(i.ctx)
		return 0, i.err
	}
	n, err := i.r.Read(b)
	i.hash.Write(b[:n])
	i.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

func refused(err error) error {
	return fault.Invalid("", "the archive is refused: %v", err)
}
