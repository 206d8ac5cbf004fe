package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/proto/fault"
)

// validShared leaves out what means something in a unit of systemd or a file of the web server.
var validShared = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// sharedNew is where a shared directory is made before it gets its place.
const sharedNew = ".gestor-new"

// CheckShared tells whether a text may be a shared path. Below uploads and logs none may be: all apps have these.
func CheckShared(p string) error {
	if !fs.ValidPath(p) || !validShared.MatchString(p) {
		return fault.Invalid("shared", "shared path %q is not a path inside the release of letters, digits and . _ -", p)
	}
	switch top, _, nested := strings.Cut(p, "/"); {
	case p == ".", top == ".env", top == "logs", top == sharedNew:
		return fault.Invalid("shared", "shared path %q cannot be shared", p)
	case top == "uploads" && nested:
		return fault.Invalid("shared", "shared path %q lies in uploads, which is shared already", p).WithFix("leave it out")
	}
	return nil
}

// CheckSharedList checks each of an app's shared paths, and that none lies in another.
func CheckSharedList(paths []string) error {
	for i, p := range paths {
		if err := CheckShared(p); err != nil {
			return err
		}
		for _, other := range paths[:i] {
			if strings.HasPrefix(p, other+"/") || strings.HasPrefix(other, p+"/") {
				return fault.Invalid("shared", "shared paths %q and %q lie in each other", other, p).WithFix("keep one of them")
			}
		}
	}
	return nil
}

// sharedDirectories makes shared/<p>, all of it the app's. What is there is left as the app has it. The app may write
// to all but the first of the directories on the way and change them at any moment, so each is opened from the one
// before, and no link is followed: root must not give away a directory that the app only points to.
func (d *Dir) sharedDirectories(p string) error {
	if err := d.removeAll(path.Join("shared", sharedNew)); err != nil { // of a run that was cut off
		return err
	}
	top, err := d.root.Open("shared") // root's, in a directory of root's
	if err != nil {
		return err
	}
	defer top.Close() //nolint:errcheck // only read
	parent, way := top, ""
	for c := range strings.SplitSeq(p, "/") {
		way = path.Join(way, c)
		next, err := d.enterShared(top, parent, c, way)
		if parent != top {
			_ = parent.Close()
		}
		if err != nil {
			return err
		}
		parent = next
	}
	return parent.Close()
}

// enterShared opens the directory c of parent, which is at way in shared, and makes it if it is missing.
func (d *Dir) enterShared(top, parent *os.File, c, way string) (*os.File, error) {
	next, err := openDirectory(parent, c)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeShared(top, parent, c); err != nil {
			return nil, fmt.Errorf("make %s: %w", way, err)
		}
		next, err = openDirectory(parent, c)
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fault.Conflict("%s is a link or a file, not a directory", filepath.Join(d.SharedPath(), way)).WithFix("move it away")
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", way, err)
	}
	return next, nil
}

// makeShared makes an empty directory of the app's where only root can change names, and then puts it in its place:
// what is given to the app is what was made here, whatever the app does to its own directories meanwhile.
func (d *Dir) makeShared(top, parent *os.File, c string) error {
	if err := unix.Mkdirat(int(top.Fd()), sharedNew, 0o755); err != nil {
		return err
	}
	made, err := openDirectory(top, sharedNew)
	if err != nil {
		return err
	}
	defer made.Close() //nolint:errcheck // only read
	if err := made.Chown(int(d.app.UID), int(d.app.UID)); err != nil {
		return err
	}
	err = unix.Renameat2(int(top.Fd()), sharedNew, int(parent.Fd()), c, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) { // the app was faster; the caller looks at what it made
		return d.removeAll(path.Join("shared", sharedNew))
	}
	return err
}

func openDirectory(parent *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
