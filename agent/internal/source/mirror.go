package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// recreate makes an empty bare repository by hand, which saves a process.
func (m mirror) recreate(uid int) error {
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("remove mirror: %w", err)
	}
	for _, dir := range []string{"", "objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/gestor"} {
		if err := makeOwned(filepath.Join(m.dir, dir), uid); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	for name, content := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tlogAllRefUpdates = false\n",
	} {
		path := filepath.Join(m.dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Lchown(path, uid, uid)); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	return nil
}

// makeOwned makes a folder that only the user may enter.
func makeOwned(path string, uid int) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Lchown(path, uid, uid)
}
