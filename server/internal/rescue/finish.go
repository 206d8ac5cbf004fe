package rescue

import (
	"errors"
	"os"
	"path/filepath"
)

// Finish ends a recovery that was interrupted between its two renames: what it made is complete then. In any other
// directory it does nothing.
func Finish(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, "raft")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	kept, err := filepath.Glob(filepath.Join(dir, "raft.before-*"))
	if err != nil || len(kept) == 0 {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, fresh)); err != nil {
		return nil //nolint:nilerr // nothing was made
	}
	return adopt(dir)
}
