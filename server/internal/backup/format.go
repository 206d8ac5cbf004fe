package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/saas-gestor/gestor/proto/fault"
)

// A backup is a line that says what it is, a snapshot of the state as the state machine writes it, and a trailer: the
// snapshot's length, the SHA-256 of all before the trailer, and a last line. Who has the last line has the rest.
const (
	family    = "gestor-backup "
	firstLine = family + "1\n"
	lastLine  = "\nend of gestor-backup\n"

	trailerBytes = 8 + sha256.Size + len(lastLine)
)

// Write writes a backup, of which body writes the inner part.
func Write(w io.Writer, body func(w io.Writer) error) error {
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(w, sum)}
	if _, err := io.WriteString(counted, firstLine); err != nil {
		return err
	}
	if err := body(counted); err != nil {
		return err
	}
	trailer := binary.BigEndian.AppendUint64(nil, uint64(counted.n-int64(len(firstLine))))
	trailer = append(sum.Sum(trailer), lastLine...)
	_, err := w.Write(trailer)
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Body reads the snapshot in the backup at path, after it has found the file whole. The caller closes it.
func Body(path string) (_ io.ReadCloser, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it was only read
		}
	}()
	size, err := check(f)
	if err != nil {
		return nil, err
	}
	return &body{io.NewSectionReader(f, int64(len(firstLine)), size), f}, nil
}

type body struct {
	io.Reader
	file *os.File
}

func (b *body) Close() error { return b.file.Close() }

const otherBackup = "use another backup"

// check reads the whole file and returns the length of its body.
func check(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	first := make([]byte, len(firstLine))
	if n, err := f.ReadAt(first, 0); n < len(first) || !bytes.HasPrefix(first, []byte(family)) {
		return 0, fault.Invalid("from", "%s is no backup of Gestor (%v)", f.Name(), orNothing(err)).WithFix("name a file that gestor servers backup wrote")
	}
	if string(first) != firstLine {
		return 0, fault.Conflict("%s was written in a newer form", f.Name()).WithFix("use the gestor-server that wrote it, or a later one")
	}
	size := info.Size() - int64(len(firstLine)+trailerBytes)
	trailer := make([]byte, trailerBytes)
	if size >= 0 {
		if _, err := f.ReadAt(trailer, int64(len(firstLine))+size); err != nil {
			return 0, err
		}
	}
	if size < 0 || !bytes.HasSuffix(trailer, []byte(lastLine)) || binary.BigEndian.Uint64(trailer) != uint64(size) {
		return 0, fault.Conflict("%s is cut short: its end is missing", f.Name()).WithFix("copy it again, or " + otherBackup)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, int64(len(firstLine))+size)); err != nil {
		return 0, fmt.Errorf("read backup: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), trailer[8:8+sha256.Size]) {
		return 0, fault.Conflict("%s is damaged: its checksum is another", f.Name()).WithFix("copy it again, or " + otherBackup)
	}
	return size, nil
}

func orNothing(err error) any {
	if err == nil {
		return "another first line"
	}
	return err
}
