package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mirror is a bare repository that holds what was fetched so far. It belongs to the app's user.
type mirror struct{ dir string }

func (g *Git) mirror(owner string, a Address) mirror {
	return mirror{dir: filepath.Join(g.folders.Path(folderOf(owner)), digest(a.URL))}
}

// folderOf is the name of the folder with an owner's mirrors.
func folderOf(owner string) string { return digest(owner) }

// digest makes a file name of any text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}

// damagedError says that the mirror, not the repository, is at fault.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return "mirror is damaged: " + e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// prepare makes the mirror if there is none or if the one there is old, and removes the locks of a git that was killed.
func (m mirror) prepare(uid int) error {
	if err := m.use(); err != nil {
		return fmt.Errorf("open mirror: %w", err)
	}
	root, err := os.OpenRoot(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return m.recreate(uid)
	}
	if err != nil {
		return fmt.Errorf("open mirror: %w", err)
	}
	defer root.Close()
	if info, err := root.Stat("HEAD"); err != nil || !info.Mode().IsRegular() || worn(root) {
		return m.recreate(uid)
	}
	for _, dir := range []string{".", "refs/gestor"} {
		for _, name := range names(root, dir) {
			if strings.HasSuffix(name, ".lock") {
				_ = root.Remove(filepath.Join(dir, name))
			}
		}
	}
	return nil
}

// use makes the owner's folder and notes that the mirror is in use.
func (m mirror) use() error {
	owner := filepath.Dir(m.dir)
	if err := errors.Join(os.MkdirAll(owner, 0o711), os.Chmod(owner, 0o711)); err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(m.dir, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// worn tells that so much has piled up that a fresh start is cheaper than tidying: the thresholds of git's own tidying.
func worn(root *os.Root) bool {
	return len(names(root, "objects/pack")) > 2*50 || len(names(root, "objects/17")) > 27
}

func names(root *os.Root, dir string) []string {
	f, err := root.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	list, _ := f.Readdirnames(-1)
	return list
}

// recreate makes an empty bare repository by hand, which saves a process. It is made beside the mirror in a folder that
// only root enters, and given to the user when root has no more to write: what is the user's may turn into links.
func (m mirror) recreate(uid int) error {
	fresh, old := m.dir+".new", m.dir+".old"
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(old)); err != nil {
		return fmt.Errorf("remove mirror: %w", err)
	}
	if err := makeBare(fresh, uid); err != nil {
		return fmt.Errorf("make mirror: %w", err)
	}
	if err := os.Rename(m.dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mirror: %w", err)
	}
	if err := os.Rename(fresh, m.dir); err != nil {
		return fmt.Errorf("make mirror: %w", err)
	}
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("remove mirror: %w", err)
	}
	return nil
}

// makeBare makes the repository at dir, which must not be there. The top folder becomes the user's last.
func makeBare(dir string, uid int) error {
	folders := []string{".", "objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/gestor"}
	for _, name := range folders {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tlogAllRefUpdates = false\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Lchown(path, uid, uid)); err != nil {
			return err
		}
	}
	for _, name := range slices.Backward(folders) {
		if err := os.Lchown(filepath.Join(dir, name), uid, uid); err != nil {
			return err
		}
	}
	return nil
}
