package process

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// diskUse sums the blocks below paths, in bytes. It stops counting once it is above enough, and skips what vanishes
// while it looks.
func diskUse(paths []string, enough uint64) uint64 {
	var total uint64
	for _, p := range paths {
		_ = filepath.WalkDir(p, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // gone meanwhile
			}
			info, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // gone meanwhile
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += uint64(st.Blocks) * 512
			}
			if total > enough {
				return fs.SkipAll
			}
			return nil
		})
	}
	return total
}
