package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
)

// The form of a segment of the write-ahead log: a header, then frames of entries, each batch of them closed by a commit
// frame with the sum of all bytes since the commit before. A batch is on disk before the next one is begun, so only the
// last can be torn by a power cut; the log drops that by itself. It does not look at the others, which is done here.
const (
	segmentHeader = 32
	frameHeader   = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3
)

// ErrDamaged is the cause of errors that say that data on disk is not what was written.
var ErrDamaged = errors.New("data on disk is damaged")

// damaged says what is damaged and what to do. %w of format is not for callers: the cause is always ErrDamaged.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s; if other control servers run, move this server's data directory away and let it join again, "+
		"they have everything; if none does, restore a backup: gestor-server restore", ErrDamaged, fmt.Sprintf(format, args...))
}

// scrubLog reads the log in dir through and compares its sums.
func scrubLog(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(paths) // names begin with the first index
	for i, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if at, ok := scrubSegment(raw, i == len(paths)-1); !ok {
			return damaged("the log %s is not what was written, at byte %d", path, at)
		}
	}
	return nil
}

// scrubSegment reports whether a segment is whole, and if not, where the first batch begins that is not. The newest may
// end in a batch that was cut by a power cut.
func scrubSegment(raw []byte, newest bool) (at int, whole bool) {
	start, end, sealed := 0, segmentHeader, false
	bad := -1 // where a batch with another sum begins
	for end+frameHeader <= len(raw) {
		typ, n := raw[end], int(binary.LittleEndian.Uint32(raw[end+4:]))
		if typ == frameCommit {
			if bad >= 0 {
				return bad, false // a batch was written after it, so it was whole once
			}
			if crc32.Checksum(raw[start:end], castagnoli) != uint32(n) {
				bad = start
			}
			end += frameHeader
			start = end
			continue
		}
		if typ != frameEntry && typ != frameIndex || n > len(raw)-end-frameHeader {
			break
		}
		sealed = sealed || typ == frameIndex
		end += frameHeader + (n+7)&^7
	}
	rest := raw[min(start, len(raw)):] // behind the last commit
	if bad >= 0 {
		return bad, newest && !sealed && !laterBatch(rest)
	}
	return start, !laterBatch(rest)
}

// laterBatch reports whether a whole batch lies behind a place where none could be read: then what is there is no end
// that was cut, but was damaged later.
func laterBatch(rest []byte) bool {
	for at := 0; at+frameHeader <= len(rest); at += frameHeader {
		if bytes.Equal(rest[at:at+4], []byte{frameEntry, 0, 0, 0}) && wholeBatch(rest[at:]) {
			return true
		}
	}
	return false
}

// wholeBatch reports whether raw begins with frames up to a commit that has their sum.
func wholeBatch(raw []byte) bool {
	for end := 0; end+frameHeader <= len(raw); {
		typ, n := raw[end], int(binary.LittleEndian.Uint32(raw[end+4:]))
		switch {
		case typ == frameCommit:
			return crc32.Checksum(raw[:end], castagnoli) == uint32(n)
		case typ != frameEntry && typ != frameIndex || n > len(raw)-end-frameHeader:
			return false
		}
		end += frameHeader + (n+7)&^7
	}
	return false
}
