package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// segment writes batches of one entry each through the real log and returns the file and where each batch ends.
func segment(t *testing.T, batches int) (path string, ends []int) {
	t.Helper()
	dir := t.TempDir()
	st, err := openStore(Options{Dir: dir}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	ends = []int{0}
	for i := range batches {
		data := bytes.Repeat([]byte{byte(i + 1)}, 100+i)
		if err := st.logs.StoreLogs([]*raft.Log{{Index: uint64(i + 1), Term: 1, Data: data}}); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		path = files[0]
		ends = append(ends, written(t, path))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return path, ends
}

// written is how much of a file is not the zeros that were reserved.
func written(t *testing.T, path string) int {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return (len(bytes.TrimRight(raw, "\x00")) + 7) &^ 7
}

func edit(t *testing.T, path string, change func(raw []byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestScrub_FindsEveryFlippedBitBeforeTheLastBatch(t *testing.T) {
	path, ends := segment(t, 4)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[:ends[4]+64]
	if at, whole := scrubSegment(raw, true); !whole {
		t.Fatalf("a whole segment is damaged at %d", at)
	}
	for at := range ends[3] {
		if slices.ContainsFunc(ends[1:4], func(end int) bool { return at > end-frameHeader && at < end-frameHeader/2 }) {
			continue // nobody reads these bytes of a commit
		}
		for bit := range 8 {
			flipped := bytes.Clone(raw)
			flipped[at] ^= 1 << bit
			if _, whole := scrubSegment(flipped, true); whole {
				t.Errorf("bit %d of byte %d is flipped, and the segment is whole", bit, at)
			}
		}
	}
}

func TestScrub_TakesALastBatchThatWasCutAnywhere(t *testing.T) {
	path, ends := segment(t, 3)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[:ends[3]+64]
	for cut := ends[2]; cut < ends[3]; cut++ {
		torn := bytes.Clone(raw)
		clear(torn[cut:])
		if at, whole := scrubSegment(torn, true); !whole {
			t.Errorf("cut at %d of %d to %d: damaged at %d", cut, ends[2], ends[3], at)
		}
	}
}

func TestOpen_GoesOnBehindATornBatchAndRefusesADamagedOne(t *testing.T) {
	for name, test := range map[string]struct {
		change func(raw []byte, ends []int) []byte
		last   uint64 // 0: refused
	}{
		"whole":        {func(raw []byte, _ []int) []byte { return raw }, 3},
		"torn":         {func(raw []byte, ends []int) []byte { clear(raw[ends[3]-20:]); return raw }, 2},
		"flipped":      {func(raw []byte, ends []int) []byte { raw[ends[1]+30] ^= 4; return raw }, 0},
		"wrong length": {func(raw []byte, ends []int) []byte { raw[ends[1]+6] ^= 4; return raw }, 0},
		"cut short":    {func(raw []byte, ends []int) []byte { return raw[:ends[2]+10] }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path, ends := segment(t, 3)
			edit(t, path, func(raw []byte) []byte { return test.change(raw, ends) })
			st, err := openStore(Options{Dir: filepath.Dir(filepath.Dir(path))}.withDefaults())
			if test.last == 0 {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if last, err := st.logs.LastIndex(); err != nil || last != test.last {
				t.Errorf("the log ends at %d, %v", last, err)
			}
		})
	}
}

func TestOpen_RefusesALogWithoutItsTableOrItsSegments(t *testing.T) {
	for name, breakIt := range map[string]func(dir string) error{
		"table of noise": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "wal-meta.db"), bytes.Repeat([]byte("noise "), 20000), 0o600)
		},
		"table with a hole": func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "wal-meta.db"), os.O_RDWR, 0o600)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 3*4096), 2*4096)
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := segment(t, 3)
			dir := filepath.Dir(path)
			if _, err := os.Stat(filepath.Join(dir, "wal-meta.db")); err != nil {
				t.Fatal(err)
			}
			if err := breakIt(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := openStore(Options{Dir: filepath.Dir(dir)}.withDefaults()); !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
