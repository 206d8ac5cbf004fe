package secret

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFileBytes bounds what is read as a ring: a few hundred keys.
const maxFileBytes = 64 << 10

// Open reads the ring at path. It refuses a file that others may read, and one that is not there: see Create.
func Open(path string) (*Ring, error) {
	raw, err := read(path)
	if err != nil {
		return nil, err
	}
	return decode(raw, Source{Kind: KindFile, Path: path})
}

// Create makes a ring with one random key at path, mode 0600, on disk when it returns. It refuses to replace a file.
func Create(path string) (*Ring, error) {
	keys := []key{randomKey()}
	if err := write(path, encode(keys), true); err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	return &Ring{keys: keys, source: Source{Kind: KindFile, Path: path}}, nil
}

func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("key ring %s is a symbolic link; put the file itself there", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("key ring %s is not a small regular file", path)
	}
	if wide := info.Mode().Perm() & 0o077; wide != 0 {
		return nil, fmt.Errorf("key ring %s may be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	raw := make([]byte, info.Size())
	n, err := f.ReadAt(raw, 0)
	if n != len(raw) {
		return nil, fmt.Errorf("read key ring %s: %w", path, err)
	}
	return raw, nil
}

func parse(raw []byte) ([]key, error) {
	var keys []key
	for n, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key; restore it from a backup")
	}
	return keys, nil
}

var errLine = errors.New(`not "<id> <key>"; restore the file from a backup`)

func parseLine(line string) (key, error) {
	id, encoded, ok := strings.Cut(line, " ")
	if !ok {
		return key{}, errLine
	}
	rawID, err := hex.DecodeString(id)
	if err != nil || len(rawID) != idBytes {
		return key{}, errLine
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != KeyBytes {
		return key{}, errLine
	}
	return newKey([idBytes]byte(rawID), raw)
}

// write puts data at path through a temporary file, synced before and after it gets its name.
func write(path string, data []byte, fresh bool) error {
	if _, err := os.Lstat(path); fresh && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyring-*") // 0600 from the start
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone after the rename
	if err := fill(f, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
