package lru

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// put makes an entry of 100 bytes that was last used so many hours after the first.
func put(t *testing.T, f *Folders, path string, hours int) {
	t.Helper()
	dir := filepath.Join(f.o.Dir, path)
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "deep", "file"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	used := time.Unix(1_700_000_000, 0).Add(time.Duration(hours) * time.Hour)
	if err := os.Chtimes(dir, used, used); err != nil {
		t.Fatal(err)
	}
}

func left(t *testing.T, f *Folders) []string {
	t.Helper()
	all, err := filepath.Glob(f.o.Dir + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range all {
		all[i] = path[len(f.o.Dir)+1:]
	}
	return all
}

func newFolders(t *testing.T, budget int64) *Folders {
	t.Helper()
	return New(Options{Dir: t.TempDir(), Entries: "*", Budget: budget})
}

func TestUse_EvictsTheLeastRecentlyUsedOfAllOwners(t *testing.T) {
	f := newFolders(t, 250)
	put(t, f, "a/old", 1)
	put(t, f, "a/new", 4)
	put(t, f, "b/older", 0)
	put(t, f, "b/newer", 3)
	f.Use("c")()
	if got := left(t, f); !slices.Equal(got, []string{"a/new", "b/newer"}) {
		t.Errorf("left are %v", got)
	}
}

func TestUse_KeepsWhatIsInUseHoweverOld(t *testing.T) {
	f := newFolders(t, 100)
	done := f.Use("a")
	put(t, f, "a/one", 0)
	put(t, f, "b/two", 1)
	f.Use("c")()
	if got := left(t, f); !slices.Equal(got, []string{"a/one"}) {
		t.Errorf("left are %v while a is in use", got)
	}
	put(t, f, "b/three", 2)
	done()
	if got := left(t, f); !slices.Equal(got, []string{"b/three"}) {
		t.Errorf("left are %v when nothing is in use", got)
	}
}

func TestUse_MeasuresAgainWhatGrewInUse(t *testing.T) {
	f := newFolders(t, 250)
	put(t, f, "a/grows", 1)
	put(t, f, "b/rests", 0)
	f.Use("c")() // measures both
	done := f.Use("a")
	if err := os.WriteFile(filepath.Join(f.o.Dir, "a/grows/more"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	done()
	if got := left(t, f); !slices.Equal(got, []string{"a/grows"}) {
		t.Errorf("left are %v", got)
	}
}

func TestForget_RemovesAllOfOneOwner(t *testing.T) {
	f := newFolders(t, 1000)
	put(t, f, "a/one", 0)
	put(t, f, "a/two", 0)
	put(t, f, "ab/three", 0)
	for range 2 { // a second time there is nothing
		if err := f.Forget("a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := left(t, f); !slices.Equal(got, []string{"ab/three"}) {
		t.Errorf("left are %v", got)
	}
}

func TestForget_WaitsForTheEndOfUse(t *testing.T) {
	f := newFolders(t, 1000)
	put(t, f, "a/one", 0)
	first, second := f.Use("a"), f.Use("a")
	if err := f.Forget("a"); err != nil {
		t.Fatal(err)
	}
	first()
	if got := left(t, f); len(got) != 1 {
		t.Fatalf("left are %v while it is in use", got)
	}
	second()
	if got := left(t, f); len(got) != 0 {
		t.Errorf("left are %v after use", got)
	}
	put(t, f, "a/two", 0)
	f.Use("a")()
	if got := left(t, f); len(got) != 1 {
		t.Errorf("left are %v: what was forgotten once goes again", got)
	}
}
