package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// mostLinks is below what any file system allows for one file.
const mostLinks = 30_000

// link makes the entry a link to the file of the same name and content in the earlier tree, if there is one. That it did
// not work is no error: the file is then written.
func (u *unpacker) link(name string, h *tar.Header, content []byte) bool {
	if u.like == nil || len(content) == 0 {
		return false
	}
	old, err := u.like.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer old.Close() //nolint:errcheck // only read
	if !ours(old, h) || !u.holds(old, content) {
		return false
	}
	folder, err := u.parent.Open(".")
	if err != nil {
		return false
	}
	defer folder.Close() //nolint:errcheck // only a handle
	// Through the open file: it is the one that was compared, whatever its name means by now.
	from := fmt.Sprintf("/proc/self/fd/%d", old.Fd())
	return unix.Linkat(unix.AT_FDCWD, from, int(folder.Fd()), path.Base(name), unix.AT_SYMLINK_FOLLOW) == nil
}

// ours tells whether a file is what unpacking the entry would make, but for its content and time.
func ours(f *os.File, h *tar.Header) bool {
	info, err := f.Stat()
	if err != nil || info.Size() != h.Size || info.Mode() != fs.FileMode(normalMode(fs.FileMode(h.Mode))) {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && st.Nlink < mostLinks
}

// holds tells whether a file of the content's size has the content.
func (u *unpacker) holds(f *os.File, content []byte) bool {
	if u.old == nil {
		u.old = make([]byte, len(u.buf))
	}
	have := u.old[:len(content)]
	_, err := io.ReadFull(f, have)
	return err == nil && bytes.Equal(have, content)
}
