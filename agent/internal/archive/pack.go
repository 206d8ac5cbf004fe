package archive

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/saas-gestor/gestor/proto/fault"
)

// PackOptions change what Pack writes.
type PackOptions struct {
	// Exclude lists paths relative to the root that are left out, with all below them.
	Exclude []string
	// ModTime is the time of every entry, to the second. Web servers answer "not modified" by it, so two archives with
	// different content should not share it.
	ModTime time.Time
}

// window is how far back the compression looks: more takes memory on both sides and gains little for files of sites.
const window = 4 << 20

// Pack writes the tree under root to w. Nobody may change the tree meanwhile. It follows no links; links that lead
// out of the tree, sockets, pipes and devices are an error that names them.
func Pack(ctx context.Context, root *os.Root, o PackOptions, w io.Writer) (Summary, error) {
	out := &meter{w: w, hash: sha256.New()}
	enc, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return Summary{}, fmt.Errorf("open zstd: %w", err)
	}
	p := &packer{ctx: ctx, tar: tar.NewWriter(enc), options: o, buf: make([]byte, 128<<10)}
	if err := p.dir(root, ""); err != nil {
		_ = enc.Close()
		return Summary{}, err
	}
	if err := p.tar.Close(); err != nil {
		return Summary{}, fmt.Errorf("end archive: %w", err)
	}
	if err := enc.Close(); err != nil {
		return Summary{}, fmt.Errorf("end archive: %w", err)
	}
	p.sum.Digest, p.sum.Bytes = hex.EncodeToString(out.hash.Sum(nil)), out.n
	return p.sum, nil
}

// meter counts and hashes what passes through.
type meter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.hash.Write(b[:n])
	m.n += int64(n)
	return n, err
}

type packer struct {
	ctx     context.Context //nolint:containedctx // lives for one call of Pack
	tar     *tar.Writer
	options PackOptions
	sum     Summary
	buf     []byte
}

// dir packs the folder that root is open on and that is called prefix in the archive.
func (p *packer) dir(root *os.Root, prefix string) error {
	entries, err := readDir(root)
	if err != nil {
		return fmt.Errorf("list %s: %w", path.Join(".", prefix), err)
	}
	for _, entry := range entries {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		name := path.Join(prefix, entry.Name())
		if slices.Contains(p.options.Exclude, name) {
			continue
		}
		if err := p.entry(root, entry.Name(), name); err != nil {
			return err
		}
	}
	return nil
}

func readDir(root *os.Root) ([]fs.DirEntry, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (p *packer) entry(root *os.Root, base, name string) error {
	info, err := root.Lstat(base)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if err := checkName(name, defaultPathLen); err != nil {
		return fault.Invalid("", "%v", err)
	}
	p.sum.Files++
	switch {
	case info.IsDir():
		return p.subdir(root, base, name)
	case info.Mode()&fs.ModeSymlink != 0:
		return p.link(root, base, name)
	case info.Mode().IsRegular():
		return p.file(root, base, name, info)
	default:
		return fault.Invalid("", "%s is a %s, which cannot be part of a release", name, kindName(info.Mode())).
			WithFix("remove it in the build command")
	}
}

func kindName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	default:
		return "device"
	}
}

func (p *packer) subdir(root *os.Root, base, name string) error {
	if err := p.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
		return err
	}
	sub, err := root.OpenRoot(base)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer sub.Close()
	return p.dir(sub, name)
}

func (p *packer) link(root *os.Root, base, name string) error {
	target, err := root.Readlink(base)
	if err != nil {
		return fmt.Errorf("read link %s: %w", name, err)
	}
	if err := checkLink(name, target); err != nil {
		return fault.Invalid("", "%v", err).WithFix("remove it in the build command")
	}
	return p.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func (p *packer) file(root *os.Root, base, name string, seen fs.FileInfo) error {
	f, err := root.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if !os.SameFile(seen, info) {
		return fmt.Errorf("%s changed while it was packed", name)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: normalMode(info.Mode())}
	if err := p.header(header); err != nil {
		return err
	}
	p.sum.Unpacked += info.Size()
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tar}, struct{ io.Reader }{f}, p.buf)
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if n != info.Size() {
		return fmt.Errorf("%s changed while it was packed", name)
	}
	return nil
}

func (p *packer) header(h *tar.Header) error {
	h.ModTime = p.options.ModTime.Truncate(time.Second)
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", h.Name, err)
	}
	return nil
}

// normalMode keeps of a mode only whether the file is a program.
func normalMode(m fs.FileMode) int64 {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}
