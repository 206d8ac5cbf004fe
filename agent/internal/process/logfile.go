package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// How the log of a unit is rotated.
const (
	logFileBytes = 10 << 20
	logFilesKept = 5
)

// logFile is a file that is rotated by size: app.log, app.log.1 … app.log.5. Its directory may be written to by the
// program whose log it is, so a link or pipe in its place is put aside, never followed. Safe for concurrent use.
type logFile struct {
	dir  *os.Root
	name string
	max  int64

	mu   sync.Mutex
	file *os.File // guarded by mu
	size int64    // guarded by mu
}

func openLogFile(path string, gid uint32) (*logFile, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open directory of log: %w", err)
	}
	l := &logFile{dir: dir, name: filepath.Base(path), max: logFileBytes}
	if err := l.open(); err != nil {
		_ = dir.Close()
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := l.file.Chown(0, int(gid)); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("own log %s: %w", path, err)
		}
	}
	return l, nil
}

func (l *logFile) open() error {
	if info, err := l.dir.Lstat(l.name); err == nil && !info.Mode().IsRegular() {
		if err := l.dir.Rename(l.name, l.name+".put-aside"); err != nil {
			return fmt.Errorf("put aside what is no log file: %w", err)
		}
	}
	f, err := l.dir.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return fmt.Errorf("log %s is not a regular file", l.name)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p. A full disk loses lines, not the program: the error ends here.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(p)) > l.max {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.size += int64(n)
	}
	return len(p), nil
}

// rotate moves each file up by one. The caller holds mu.
func (l *logFile) rotate() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	for n := logFilesKept - 1; n >= 1; n-- {
		_ = l.dir.Rename(fmt.Sprintf("%s.%d", l.name, n), fmt.Sprintf("%s.%d", l.name, n+1))
	}
	_ = l.dir.Rename(l.name, l.name+".1")
	_ = l.open()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	return errors.Join(err, l.dir.Close())
}

// TailLog returns the last lines of a log, at most n lines and 16 KiB; none if there is no log.
func TailLog(path string, n int) []string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	const most = 16 << 10
	start := max(0, info.Size()-most)
	b, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, start, most), most))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if start > 0 && len(lines) > 1 {
		lines = lines[1:] // cut in the middle
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}
