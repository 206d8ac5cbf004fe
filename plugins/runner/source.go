package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Source is a source tree. It is read through methods that never leave it, whatever links it holds.
type Source struct {
	// Dir is its absolute path.
	Dir string
}

// maxRead is the largest file a runner looks into.
const maxRead = 8 << 20

// ReadFile returns the content of a file in the tree. It is an error wrapping fs.ErrNotExist if there is no such
// regular file.
func (s Source) ReadFile(name string) ([]byte, error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("open source tree: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, notThere(err))
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxRead {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxRead>>20)
	}
	return b, nil
}

// notThere makes a path through something that is no folder the same as one that does not exist.
func notThere(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fs.ErrNotExist
	}
	return err
}

// ReadJSON decodes a JSON file of the tree into v. It tells whether the file exists.
func (s Source) ReadJSON(name string, v any) (bool, error) {
	b, err := s.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b = []byte(strings.TrimPrefix(string(b), "\ufeff"))
	if err := json.Unmarshal(b, v); err != nil {
		return true, fmt.Errorf("%s is not valid JSON: %w", name, err)
	}
	return true, nil
}

// IsFile tells whether name is a regular file in the tree.
func (s Source) IsFile(name string) bool {
	info, ok := s.stat(name)
	return ok && info.Mode().IsRegular()
}

// IsDir tells whether name is a folder in the tree.
func (s Source) IsDir(name string) bool {
	info, ok := s.stat(name)
	return ok && info.IsDir()
}

func (s Source) stat(name string) (fs.FileInfo, bool) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, false
	}
	defer root.Close()
	info, err := root.Stat(name)
	return info, err == nil
}

// CleanDir checks a folder a person named, relative to the source tree, and returns it without "./" and slashes at the
// end. The tree itself is ".".
func CleanDir(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || !fs.ValidPath(clean) {
		return "", fmt.Errorf("%q is not a folder inside the source", name)
	}
	return clean, nil
}
