package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/agent/internal/lru"
)

// cache keeps files between the builds of an app: folders that package managers use as their store, and packed trees
// by key. Each app has a folder, in it "stores" and "trees". The least recently used entries go when all apps together
// pass the budget, but none of an app that builds.
type cache struct{ *lru.Folders }

func newCache(dir string, budget int64) cache {
	return cache{lru.New(lru.Options{Dir: dir, Entries: "*/*", Budget: budget})}
}

// folder makes the store of that name and returns its path.
func (c cache) folder(owner, name string, uid uint32) (string, error) {
	if !validID.MatchString(name) {
		return "", fmt.Errorf("%q cannot be the name of a cache", name)
	}
	path := filepath.Join(c.Path(owner), "stores", name)
	if err := c.parents(owner, "stores"); err != nil {
		return "", err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make cache: %w", err)
	}
	now := time.Now()
	return path, errors.Join(os.Lchown(path, int(uid), int(uid)), os.Chtimes(path, now, now))
}

func (c cache) parents(owner, kind string) error {
	for _, dir := range []string{c.Path(owner), filepath.Join(c.Path(owner), kind)} {
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
			return fmt.Errorf("make cache: %w", err)
		}
	}
	return nil
}

func (c cache) tree(owner, key string) (string, error) {
	if !validID.MatchString(key) {
		return "", fmt.Errorf("%q cannot be the key of a cache", key)
	}
	return filepath.Join(c.Path(owner), "trees", key), nil
}

// restore unpacks a tree to dir under root and gives it to the user. A tree that cannot be unpacked is forgotten.
func (c cache) restore(ctx context.Context, owner, key string, root *os.Root, dir string, uid int) (bool, error) {
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
	defer f.Close() //nolint:errcheck // only read
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
func (c cache) save(ctx context.Context, owner, key string, root *os.Root, dir string) error {
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
	defer os.Remove(f.Name()) //nolint:errcheck // gone by then if all went well
	_, err = archive.Pack(ctx, sub, archive.PackOptions{Exclude: []string{".cache"}, ModTime: time.Unix(0, 0)}, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
