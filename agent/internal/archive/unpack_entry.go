package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/proto/fault"
)

type unpacker struct {
	in     *input
	tar    *tar.Reader
	root   *os.Root
	like   *os.Root // an earlier tree; may be nil
	limits Limits
	sum    Summary
	buf    []byte
	old    []byte // for the content of files of the earlier tree
	// seen holds the type of every entry so far: only folders of this archive may hold others.
	seen map[string]byte
	// parent is open on the folder of the last entry, which is called parentName.
	parent     *os.Root
	parentName string
}

// diskError is a failure of this host, as opposed to one of the archive.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// explain tells a broken archive, a broken download and a full disk apart.
func (u *unpacker) explain(err error) error {
	var disk *diskError
	switch {
	case u.in.err != nil:
		return fmt.Errorf("read archive: %w", u.in.err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return u.diskFull(err)
	case errors.As(err, &disk):
		return fmt.Errorf("unpack: %w", disk.err)
	default:
		return refused(err)
	}
}

func (u *unpacker) diskFull(cause error) error {
	var st unix.Statfs_t
	free := "an unknown amount"
	if f, err := u.root.Open("."); err == nil {
		if unix.Fstatfs(int(f.Fd()), &st) == nil {
			free = fmt.Sprintf("%d MiB", st.Bavail*uint64(st.Bsize)>>20)
		}
		_ = f.Close()
	}
	return fault.Exhausted("the disk is full: %d files with %d MiB were unpacked, %s is left",
		u.sum.Files, u.sum.Unpacked>>20, free).WithFix("free some space and deploy again").WithCause(cause)
}

func (u *unpacker) all() error {
	for {
		h, err := u.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(h); err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(h *tar.Header) error {
	name, err := u.admit(h)
	if err != nil {
		return err
	}
	if err := u.enter(path.Dir(name)); err != nil {
		return err
	}
	u.seen[name] = h.Typeflag
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(base)
	case tar.TypeSymlink:
		return onDisk(u.parent.Symlink(h.Linkname, base))
	default:
		return u.file(name, h)
	}
}

// admit checks all that a header says and returns the entry's clean name.
func (u *unpacker) admit(h *tar.Header) (string, error) {
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkName(name, u.limits.PathLen); err != nil {
		return "", err
	}
	if strings.Count(name, "/") >= u.limits.Depth {
		return "", fmt.Errorf("%s lies deeper than %d folders", name, u.limits.Depth)
	}
	if _, twice := u.seen[name]; twice {
		return "", fmt.Errorf("%s is in it twice", name)
	}
	if h.Mode&^0o777 != 0 {
		return "", fmt.Errorf("%s has the special mode %o", name, h.Mode)
	}
	if err := checkType(name, h); err != nil {
		return "", err
	}
	return name, u.count(h)
}

func checkType(name string, h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return fmt.Errorf("%s is a sparse file", name)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		if strings.ContainsRune(h.Linkname, 0) || len(h.Linkname) > defaultPathLen {
			return fmt.Errorf("%s is a link with a bad target", name)
		}
		return checkLink(name, h.Linkname)
	case tar.TypeLink:
		return fmt.Errorf("%s is a hard link", name)
	default:
		return fmt.Errorf("%s is neither a file nor a folder nor a link (type %q)", name, h.Typeflag)
	}
}

// count adds an entry to the sums and refuses what is too much.
func (u *unpacker) count(h *tar.Header) error {
	u.sum.Files++
	if u.sum.Files > u.limits.Files {
		return fmt.Errorf("it has more than %d entries", u.limits.Files)
	}
	if h.Size < 0 || h.Size > u.limits.Bytes-u.sum.Unpacked {
		return fmt.Errorf("its files take more than %d MiB", u.limits.Bytes>>20)
	}
	return nil
}

// enter opens the folder an entry is in, which must be a folder of this archive.
func (u *unpacker) enter(dir string) error {
	if u.seen[dir] != tar.TypeDir {
		return fmt.Errorf("%s is used as a folder and is none", dir)
	}
	if u.parent != nil && u.parentName == dir {
		return nil
	}
	u.leave()
	parent, err := u.root.OpenRoot(dir)
	if err != nil {
		return &diskError{err}
	}
	u.parent, u.parentName = parent, dir
	return nil
}

func (u *unpacker) leave() {
	if u.parent != nil {
		_ = u.parent.Close()
		u.parent = nil
	}
}

func (u *unpacker) dir(base string) error {
	if err := u.parent.Mkdir(base, 0o755); err != nil {
		return &diskError{err}
	}
	return onDisk(u.parent.Chmod(base, 0o755))
}

func (u *unpacker) file(name string, h *tar.Header) error {
	if h.Size > int64(len(u.buf)) {
		return u.create(path.Base(name), h, u.stream)
	}
	content := u.buf[:h.Size]
	if _, err := io.ReadFull(u.tar, content); err != nil {
		return err
	}
	if err := u.took(len(content)); err != nil {
		return err
	}
	if u.link(name, h, content) {
		return nil
	}
	return u.create(path.Base(name), h, func(f *os.File) error {
		_, err := f.Write(content)
		return onDisk(err)
	})
}

// create makes a file in the folder that is open.
func (u *unpacker) create(base string, h *tar.Header, fill func(*os.File) error) error {
	f, err := u.parent.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return &diskError{err}
	}
	err = fill(f)
	if err == nil {
		err = onDisk(f.Chmod(fs.FileMode(normalMode(fs.FileMode(h.Mode)))))
	}
	if closeErr := f.Close(); err == nil {
		err = onDisk(closeErr)
	}
	if err != nil {
		return err
	}
	return onDisk(u.parent.Chtimes(base, h.ModTime, h.ModTime))
}

// stream copies the content of an entry that is too large for the buffer.
func (u *unpacker) stream(f *os.File) error {
	for {
		n, readErr := u.tar.Read(u.buf)
		if _, err := f.Write(u.buf[:n]); err != nil {
			return &diskError{err}
		}
		if err := u.took(n); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// took counts unpacked bytes and refuses what is out of proportion.
func (u *unpacker) took(n int) error {
	u.sum.Unpacked += int64(n)
	if u.sum.Unpacked > ratioFloor && u.sum.Unpacked/u.limits.Ratio > u.in.n {
		return fmt.Errorf("it unpacks to more than %d times its size", u.limits.Ratio)
	}
	return nil
}

func onDisk(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{err}
}

// checkName admits names that mean one place under the root and nothing else.
func checkName(name string, longest int) error {
	switch {
	case len(name) > longest:
		return fmt.Errorf("the path %.60q… is longer than %d bytes", name, longest)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("the path %q holds a zero byte", name)
	case name == "." || !fs.ValidPath(name):
		return fmt.Errorf("the path %q is not a plain relative path in UTF-8", name)
	default:
		return nil
	}
}

// SyncTree makes all that was written under root, and the names, survive a power cut. It asks the file system as a
// whole, which is one flush where a flush per file would be hundreds.
func SyncTree(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close() //nolint:errcheck // only a handle
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
