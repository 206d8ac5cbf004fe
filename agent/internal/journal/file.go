package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// The operations a record can hold.
const (
	opAssigned     = "assigned"
	opBegun        = "begun"
	opEnded        = "ended"
	opAcknowledged = "acknowledged"
	opFence        = "fence" // a fence whose task is forgotten; written by compaction
)

type record struct {
	Op       string `json:"op"`
	Task     string `json:"task,omitempty"`
	Fence    uint64 `json:"fence,omitempty"`
	Resource string `json:"resource,omitempty"`
	Secrets  bool   `json:"secrets,omitempty"`
	Message  []byte `json:"message,omitempty"` // TaskSpec or TaskFinished
}

// A frame is the payload's length and CRC-32C, both little-endian, and the payload.
const (
	frameHeader = 8
	maxPayload  = 16 << 20
)

func frame(r record) ([]byte, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("record of %d bytes is too large for the journal", len(payload))
	}
	b := make([]byte, frameHeader, frameHeader+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], checksum(payload))
	return append(b, payload...), nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

var errTorn = errors.New("torn record")

// load applies the records of the file and cuts off a torn end.
func (j *Journal) load() error {
	b, err := io.ReadAll(bufio.NewReader(j.file))
	if err != nil {
		return err
	}
	rest := b
	for len(rest) > 0 {
		payload, err := nextPayload(rest)
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", len(b)-len(rest), err)
		}
		if err := j.applyPayload(payload); err != nil {
			return fmt.Errorf("at byte %d: %w", len(b)-len(rest), err)
		}
		rest = rest[frameHeader+len(payload):]
	}
	j.size = int64(len(b) - len(rest))
	return j.rewind()
}

func (j *Journal) applyPayload(payload []byte) error {
	var r record
	if err := json.Unmarshal(payload, &r); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	return j.apply(r)
}

// nextPayload returns errTorn for what a crash may leave at the end of a file: a frame that is cut off, one whose bytes
// did not all reach the disk, or zeros.
func nextPayload(b []byte) ([]byte, error) {
	if len(b) < frameHeader || allZero(b) {
		return nil, errTorn
	}
	n := int(binary.LittleEndian.Uint32(b))
	end := frameHeader + n
	if n > maxPayload {
		return nil, damaged()
	}
	if end > len(b) {
		return nil, errTorn
	}
	payload := b[frameHeader:end]
	if checksum(payload) == binary.LittleEndian.Uint32(b[4:]) {
		return payload, nil
	}
	if end == len(b) || allZero(b[end:]) {
		return nil, errTorn
	}
	return nil, damaged()
}

func damaged() error {
	return errors.New("the journal is damaged in the middle, which no crash does: check the disk; " +
		"if this host's tasks have all been settled, move the file away and restart the agent")
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// append writes a record durably and then applies it.
func (j *Journal) append(r record) error {
	if j.broken != nil {
		return fmt.Errorf("write journal: %w", j.broken)
	}
	b, err := frame(r)
	if err != nil {
		return err
	}
	if err := j.write(b); err != nil {
		if back := j.rewind(); back != nil {
			j.broken = back
		}
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(b))
	if err := j.apply(r); err != nil {
		return err
	}
	j.maybeCompact()
	return nil
}

func (j *Journal) write(b []byte) error {
	if _, err := j.file.Write(b); err != nil {
		return err
	}
	return j.file.Sync()
}

// rewind drops everything after the last good record.
func (j *Journal) rewind() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	if _, err := j.file.Seek(j.size, io.SeekStart); err != nil {
		return err
	}
	return j.file.Sync()
}

// maybeCompact rewrites a file that is mostly history. When that does not work the old file goes on being good.
func (j *Journal) maybeCompact() {
	if j.size < compactAbove || j.size < compactFactor*j.compacted {
		return
	}
	if err := j.compact(); err != nil {
		j.compacted = j.size // do not try again at every record
	}
}

func (j *Journal) compact() error {
	records, err := j.records()
	if err != nil {
		return err
	}
	var all []byte
	for _, r := range records {
		b, err := frame(r)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	file, err := replaceFile(j.path, all)
	if err != nil {
		return err
	}
	_ = j.file.Close()
	j.file, j.size, j.compacted = file, int64(len(all)), int64(len(all))
	// A crash may now bring back the old file, which lacks what is written from here on: stop writing.
	j.broken = syncDir(j.path)
	return j.broken
}

// replaceFile puts a file with content b at path in one step and returns it open at its end. The caller syncs the directory.
func replaceFile(path string, b []byte) (*os.File, error) {
	file, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	if _, err = file.Write(b); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
