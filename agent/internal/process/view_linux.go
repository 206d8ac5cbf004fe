package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// enterView makes the file system as the program sees it: everything read-only, hidden paths empty, the writable ones
// as they are, /proc of the own namespace, a small /dev and a /tmp of its own.
func enterView(c initConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	keep, err := openKept(c)
	if err != nil {
		return err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(-1, "/", unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("make file system read-only: %w", err)
	}
	if err := mountOwn(); err != nil {
		return err
	}
	if err := arrange(keep, c.Hidden); err != nil {
		return err
	}
	if !c.Network {
		return loopbackUp()
	}
	return nil
}

// kept is a path that stays visible, opened before it is covered.
type kept struct {
	path string
	fd   int
	dir  bool
}

func openKept(c initConfig) ([]kept, error) {
	var all []kept
	for _, p := range c.Writable {
		k, err := openTree(p, false)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	for _, p := range c.ReadOnly {
		k, err := openTree(p, true)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

func openTree(path string, readOnly bool) (kept, error) {
	at, path, err := openPlain(path)
	if err != nil {
		return kept{}, fmt.Errorf("open path of sandbox: %w", err)
	}
	defer unix.Close(at) //nolint:errcheck // only names the path
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return kept{}, fmt.Errorf("open path of sandbox %s: %w", path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return kept{}, fmt.Errorf("path of sandbox %s is neither directory nor file", path)
	}
	fd, err := unix.OpenTree(at, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return kept{}, fmt.Errorf("open path of sandbox %s: %w", path, err)
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return kept{}, fmt.Errorf("set mount flags of %s: %w", path, err)
	}
	return kept{path: path, fd: fd, dir: kind == unix.S_IFDIR}, nil
}

// arrange covers what is hidden and shows what is kept. A longer path wins over a shorter one, so that a visible
// directory may be inside a hidden one, and the other way round.
func arrange(keep []kept, hidden []string) error {
	shown := map[string]kept{}
	paths := make([]string, 0, len(keep)+len(hidden))
	for _, k := range keep {
		shown[k.path] = k
		paths = append(paths, k.path)
	}
	for _, p := range hidden {
		if plain, err := filepath.EvalSymlinks(p); err == nil { // in the order in which they lie in each other
			p = plain
		}
		paths = append(paths, p)
	}
	slices.Sort(paths) // a parent before what is inside it
	var covers []string
	for _, p := range slices.Compact(paths) {
		if k, ok := shown[p]; ok {
			if err := show(k); err != nil {
				return err
			}
			continue
		}
		cover, err := hide(p)
		if err != nil {
			return fmt.Errorf("hide %s: %w", p, err)
		}
		if cover != "" {
			covers = append(covers, cover)
		}
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, c := range covers {
		if err := unix.Mount("", c, "", flags, ""); err != nil {
			return fmt.Errorf("close hidden path %s: %w", c, err)
		}
	}
	return nil
}

func show(k kept) error {
	defer unix.Close(k.fd) //nolint:errcheck // nothing was written
	if err := mountPoint(k); err != nil {
		return fmt.Errorf("make place for %s: %w", k.path, err)
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	place, err := unix.Openat2(unix.AT_FDCWD, k.path, how)
	if err != nil {
		return fmt.Errorf("find place for %s: %w", k.path, err)
	}
	defer unix.Close(place) //nolint:errcheck // only names the path
	if err := unix.MoveMount(k.fd, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("show path %s in sandbox: %w", k.path, err)
	}
	return nil
}

// mountPoint makes the place inside a hidden path, where it is gone.
func mountPoint(k kept) error {
	if _, err := os.Lstat(k.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if k.dir {
		return os.MkdirAll(k.path, 0o755) // the way to a path the program may use
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(k.path, nil, 0o600)
}

// hide covers a path. It returns the directory that the caller makes read-only in the end, none for a file.
func hide(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil //nolint:nilerr // it does not exist, or cannot be seen already
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
	}
	return path, unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0711,size=64k")
}

// mountOwn mounts what each sandbox has for itself.
func mountOwn() error {
	devices := []string{"null", "zero", "full", "random", "urandom", "tty"}
	var fds []int
	for _, d := range devices {
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/dev/"+d, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("open device %s: %w", d, err)
		}
		fds = append(fds, fd)
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for i, d := range devices {
		if err := os.WriteFile("/dev/"+d, nil, 0o600); err != nil {
			return fmt.Errorf("make device %s: %w", d, err)
		}
		if err := unix.MoveMount(fds[i], "", unix.AT_FDCWD, "/dev/"+d, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount device %s: %w", d, err)
		}
		_ = unix.Close(fds[i])
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return fmt.Errorf("link /dev/%s: %w", name, err)
		}
	}
	if err := os.Mkdir("/dev/shm", 0o755); err != nil { // a mount point
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	return mountAll([]mount{
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=1777,size=256m"},
		{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=1g"},
		{"tmpfs", "/var/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=1g"},
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "hidepid=2"},
	})
}

type mount struct {
	kind, path string
	flags      uintptr
	data       string
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return nil
}

// loopbackUp brings up the loopback of a network namespace of our own.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket for loopback: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}
