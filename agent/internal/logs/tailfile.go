package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/saas-gestor/gestor/proto/fault"
)

const (
	tailBlock = 64 << 10
	tailReach = 8 << 20 // bytes a tail looks back at most in one file
)

// openRegular opens a file below root that is a plain file, and no link to anything: the app could have put anything
// in its place. It returns nil if there is none.
func openRegular(root *os.Root, name string) (*os.File, error) {
	before, err := root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at log: %w", err)
	}
	if !before.Mode().IsRegular() {
		return nil, fault.Denied("%s is not a plain file, so it is not shown", name)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	after, err := f.Stat()
	if err != nil || !os.SameFile(before, after) {
		_ = f.Close()
		return nil, fault.Unavailable("%s changed while it was opened", name).WithFix("try again")
	}
	return f, nil
}

// lastLines returns where the last n lines of f begin, and how many of the n it does not have.
func lastLines(f *os.File, n int) (from int64, missing int, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("read log: %w", err)
	}
	if n <= 0 {
		return end, 0, nil
	}
	block := make([]byte, tailBlock)
	at := end
	for at > 0 && end-at < tailReach {
		size := min(at, tailBlock)
		at -= size
		b := block[:size]
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, fmt.Errorf("read log: %w", err)
		}
		if at+size == end && b[size-1] == '\n' {
			b = b[:size-1] // the end of the last line begins no other
		}
		for i := bytes.LastIndexByte(b, '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
			if n--; n == 0 {
				return at + int64(i) + 1, 0, nil
			}
		}
	}
	if end > 0 {
		n-- // the first line, which no line end precedes
	}
	return at, n, nil
}
