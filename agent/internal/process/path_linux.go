package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/proto/fault"
)

// openPlain opens a path, only to name it, without following a link that anyone but root may have put there. It also
// returns the path without links.
func openPlain(path string) (fd int, plain string, err error) {
	plain, err = resolveTrusted(path)
	if err != nil {
		return -1, "", err
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err = unix.Openat2(unix.AT_FDCWD, plain, how)
	if errors.Is(err, unix.ELOOP) {
		return -1, "", linkError(path, plain)
	}
	return fd, plain, err
}

const maxLinks = 40

// resolveTrusted replaces the links of the system in a path, such as /var/run, by where they lead. Links are taken only
// as long as all directories on the way can be changed by nobody but root; the rest of the path stays as it is.
func resolveTrusted(path string) (string, error) {
	at, rest, links := "/", strings.Trim(filepath.Clean(path), "/"), 0
	for rest != "" {
		if !onlyRootChanges(at) {
			return filepath.Join(at, rest), nil
		}
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		next := filepath.Join(at, c)
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", linkError(path, next)
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		at, rest = "/", strings.Trim(filepath.Join(to, rest), "/")
	}
	return at, nil
}

func onlyRootChanges(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && st.Uid == 0 && info.Mode().Perm()&0o022 == 0
}

func linkError(path, at string) error {
	return fault.Conflict("path %s of a sandbox leads through a link at or above %s", path, at).
		WithFix("replace the link by a directory")
}

// checkPaths looks at paths that are made visible by someone else right after.
func checkPaths(lists ...[]string) error {
	for _, list := range lists {
		for _, p := range list {
			fd, _, err := openPlain(p)
			if errors.Is(err, fs.ErrNotExist) {
				continue // who makes it visible tells
			}
			if err != nil {
				return fmt.Errorf("open path of sandbox %s: %w", p, err)
			}
			_ = unix.Close(fd)
		}
	}
	return nil
}
