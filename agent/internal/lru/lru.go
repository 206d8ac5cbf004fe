// Package lru bounds what is kept on disk from one build to the next.
//
// What is kept lies in a folder per owner, an app, in entries that are used and removed as a whole. When all owners
// together pass the budget, the entries whose modification time is the oldest go; whoever uses an entry sets that time.
// Nothing of an owner goes while it is in use. Making and filling entries is the caller's; all of it is a cache, which
// may be gone at any time that it is not in use.
package lru

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options configures Folders; all are required.
type Options struct {
	// Dir holds a folder per owner.
	Dir string
	// Entries tells what the entries are: a pattern of slash-separated paths below an owner's folder, as path.Match
	// knows them.
	Entries string
	// Budget is what all entries may take together, in bytes.
	Budget int64
}

// Folders watches over a folder. Its methods may be called concurrently.
type Folders struct {
	o Options

	mu        sync.Mutex       // guards the following, and removal against use
	users     map[string]int   // how many use an owner's entries
	forgotten map[string]bool  // owners to remove once nobody uses their entries
	sizes     map[string]int64 // of entries that are not in use, by path below Dir, as far as they are known
}

// New returns the Folders of a directory that is there, or will be by the first use.
func New(o Options) *Folders {
	return &Folders{o: o, users: map[string]int{}, forgotten: map[string]bool{}, sizes: map[string]int64{}}
}

// Path is the owner's folder.
func (f *Folders) Path(owner string) string { return filepath.Join(f.o.Dir, owner) }

// Use keeps all that the owner has until the returned function is called, which then evicts what is over the budget.
func (f *Folders) Use(owner string) (done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[owner]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.release(owner)
		f.evict()
	}
}

func (f *Folders) release(owner string) {
	maps.DeleteFunc(f.sizes, func(path string, _ int64) bool { return ownerOf(path) == owner })
	if f.users[owner]--; f.users[owner] > 0 {
		return
	}
	delete(f.users, owner)
	if f.forgotten[owner] {
		delete(f.forgotten, owner)
		_ = os.RemoveAll(f.Path(owner)) // what is left is evicted in time
	}
}

// Forget removes all that the owner has; if it is in use, as soon as it is not. The owner must be a plain file name.
func (f *Folders) Forget(owner string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users[owner] > 0 {
		f.forgotten[owner] = true
		return nil
	}
	return os.RemoveAll(f.Path(owner))
}

// entry is something that can be evicted.
type entry struct {
	path string // below Dir, with slashes
	used time.Time
	size int64
}

func ownerOf(path string) string {
	owner, _, _ := strings.Cut(path, "/")
	return owner
}

// evict removes the least recently used entries over the budget.
func (f *Folders) evict() {
	all := f.entries()
	var sum int64
	for _, e := range all {
		sum += e.size
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	for _, e := range all {
		if sum <= f.o.Budget {
			return
		}
		if f.users[ownerOf(e.path)] == 0 && os.RemoveAll(filepath.Join(f.o.Dir, e.path)) == nil {
			sum -= e.size
			delete(f.sizes, e.path)
		}
	}
}

// entries lists all that is kept. Only what was in use since the last time is measured again.
func (f *Folders) entries() []entry {
	paths, _ := fs.Glob(os.DirFS(f.o.Dir), "*/"+f.o.Entries) // the pattern is the program's own
	all := make([]entry, 0, len(paths))
	sizes := make(map[string]int64, len(paths))
	for _, path := range paths {
		full := filepath.Join(f.o.Dir, path)
		info, err := os.Lstat(full)
		if err != nil {
			continue
		}
		size, known := f.sizes[path]
		if !known {
			size = diskUse(full)
		}
		if f.users[ownerOf(path)] == 0 {
			sizes[path] = size
		}
		all = append(all, entry{path: path, used: info.ModTime(), size: size})
	}
	f.sizes = sizes
	return all
}

// diskUse is the sum of the sizes below path, without following links.
func diskUse(path string) int64 {
	var sum int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be seen is not counted
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
