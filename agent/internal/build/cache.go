package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/archive"
)

// cache keeps files between the builds of an app: folders that package managers use as their store, and packed trees
// by key. Below dir there is a folder per app, in it "stores" and "trees". The least recently used entries go when
// all apps together pass the budget, but none of an app that builds.
type cache struct {
	dir    string
	budget int64

	mu   sync.Mutex // guards busy, and eviction
	busy map[string]int
}

// use marks an app as building until the returned function is called, which then evicts.
func (c *cache) use(owner string) (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[owner]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.busy[owner]--; c.busy[owner] == 0 {
			delete(c.busy, owner)
		}
		c.evict()
	}
}

// folder makes the store of that name and returns its path.
func (c *cache) folder(owner, name string, uid uint32) (string, error) {
	if !validID.MatchString(name) {
		return "", fmt.Errorf("%q cannot be the name of a cache", name)
	}
	path := filepath.Join(c.dir, owner, "stores", name)
	if err := c.parents(owner, "stores"); err != nil {
		return "", err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make cache: %w", err)
	}
	now := time.Now()
	return path, errors.Join(os.Lchown(path, int(uid), int(uid)), os.Chtimes(path, now, now))
}

func (c *cache) parents(owner, kind string) error {
	for _, dir := range []string{filepath.Join(c.dir, owner), filepath.Join(c.dir, owner, kind)} {
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
			return fmt.Errorf("make cache: %w", err)
		}
	}
	return nil
}

func (c *cache) tree(owner, key string) (string, error) {
	if !validID.MatchString(key) {
		return "", fmt.Errorf("%q cannot be the key of a cache", key)
	}
	return filepath.Join(c.dir, owner, "trees", key), nil
}

// restore unpacks a tree to dir under root and gives it to the user. A tree that cannot be unpacked is forgotten.
func (c *cache) restore(ctx context.Context, owner, key string, root *os.Root, dir string, uid int) (bool, error) {
	path, err := c.tree(owner, key)
	if err != nil {
		return false, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := root.RemoveAll(dir); err != nil {
		return false, err
	}
	if err := unpackTo(ctx, f, root, dir, uid); err != nil {
		return false, errors.Join(err, os.Remove(path), root.RemoveAll(dir))
	}
	now := time.Now()
	return true, os.Chtimes(path, now, now)
}

func unpackTo(ctx context.Context, f *os.File, root *os.Root, dir string, uid int) error {
	if err := root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	sub, err := root.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer sub.Close()
	if _, err := archive.Unpack(ctx, f, sub, archive.Limits{}); err != nil {
		return err
	}
	if err := sub.Chmod(".", 0o755); err != nil {
		return err
	}
	return fs.WalkDir(sub.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return sub.Lchown(name, uid, uid)
	})
}

// save packs the tree at dir under root; one that is stored already is left alone.
func (c *cache) save(ctx context.Context, owner, key string, root *os.Root, dir string) error {
	path, err := c.tree(owner, key)
	if err != nil {
		return err
	}
	sub, err := root.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer sub.Close()
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := c.parents(owner, "trees"); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "pending-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = archive.Pack(ctx, sub, archive.PackOptions{Exclude: []string{".cache"}, ModTime: time.Unix(0, 0)}, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// entry is something that can be evicted.
type entry struct {
	path string
	used time.Time
	size int64
}

// evict removes the least recently used entries over the budget.
func (c *cache) evict() {
	var all []entry
	var sum int64
	owners, _ := os.ReadDir(c.dir)
	for _, owner := range owners {
		for _, e := range c.entries(owner.Name()) {
			sum += e.size
			if c.busy[owner.Name()] == 0 {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	for _, e := range all {
		if sum <= c.budget {
			return
		}
		if os.RemoveAll(e.path) == nil {
			sum -= e.size
		}
	}
}

func (c *cache) entries(owner string) []entry {
	var out []entry
	for _, kind := range []string{"stores", "trees"} {
		list, _ := os.ReadDir(filepath.Join(c.dir, owner, kind))
		for _, e := range list {
			path := filepath.Join(c.dir, owner, kind, e.Name())
			if info, err := e.Info(); err == nil {
				out = append(out, entry{path: path, used: info.ModTime(), size: diskUse(path)})
			}
		}
	}
	return out
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
