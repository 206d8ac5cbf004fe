package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Dir is the directory of one app. Its methods must not run at the same time for one app; the agent runs one task per
// app, so they do not.
type Dir struct {
	root *os.Root
	path string
	app  App
	// step is called before each change, so that tests can end the program there.
	step func(name string)
}

// App says whose directory it is.
type App struct {
	Slug string
	UID  uint32 // user and group of the app
}

// Info describes a complete release.
type Info struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // of the artifact, hex
	ID     string `json:"id"`     // the release's id
}

var (
	validSlug = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,26}[a-z0-9])?$`)
	validName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,62}$`)
)

// CheckName tells whether a text may name a release.
func CheckName(name string) error {
	if !validName.MatchString(name) || name == "current" {
		return fault.Invalid("release", "release name %q is not valid", name)
	}
	return nil
}

// Open makes the layout of an app's directory below deployRoot, or mends it.
func Open(deployRoot string, app App) (*Dir, error) {
	if !validSlug.MatchString(app.Slug) {
		return nil, fault.Invalid("app", "app name %q is not valid", app.Slug)
	}
	if app.UID == 0 {
		return nil, fault.Invalid("app", "app %s would belong to root", app.Slug)
	}
	if err := os.MkdirAll(deployRoot, 0o755); err != nil { // the way to all apps
		return nil, fmt.Errorf("make deploy root: %w", err)
	}
	base, err := os.OpenRoot(deployRoot)
	if err != nil {
		return nil, fmt.Errorf("open deploy root: %w", err)
	}
	defer base.Close()
	if err := base.Mkdir(app.Slug, 0o751); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make directory of app %s: %w", app.Slug, err)
	}
	root, err := base.OpenRoot(app.Slug)
	if err != nil {
		return nil, fmt.Errorf("open directory of app %s: %w", app.Slug, err)
	}
	d := &Dir{root: root, path: filepath.Join(deployRoot, app.Slug), app: app, step: func(string) {}}
	if err := d.layout(); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("lay out directory of app %s: %w", app.Slug, err)
	}
	return d, nil
}

// Close lets go of the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Path is the app's directory.
func (d *Dir) Path() string { return d.path }

// ReleasePath is where a release is.
func (d *Dir) ReleasePath(name string) string { return filepath.Join(d.path, "releases", name) }

// CurrentPath is the link to the live release.
func (d *Dir) CurrentPath() string { return filepath.Join(d.path, "current") }

// SharedPath is the directory that survives releases.
func (d *Dir) SharedPath() string { return filepath.Join(d.path, "shared") }

// EnvPath is the app's env file.
func (d *Dir) EnvPath() string { return filepath.Join(d.path, "shared", ".env") }

// LogPath is where the app's program writes what it says.
func (d *Dir) LogPath() string { return filepath.Join(d.path, "shared", "logs", "app.log") }

func (d *Dir) layout() error {
	uid, gid := int(d.app.UID), int(d.app.UID)
	for _, f := range []struct {
		name     string
		mode     fs.FileMode
		uid, gid int
	}{
		{".", 0o751, 0, gid},
		{"releases", 0o751, 0, gid},
		{"shared", 0o751, 0, gid},
		{"shared/uploads", 0o755, uid, gid},
		{"shared/logs", 0o770 | fs.ModeSticky, 0, gid},
	} {
		if err := d.directory(f.name, f.mode, f.uid, f.gid); err != nil {
			return err
		}
	}
	if err := d.root.Symlink("../current", "releases/current"); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link releases/current: %w", err)
	}
	return nil
}

// directory makes a directory, or gives one its mode and owner again.
func (d *Dir) directory(name string, mode fs.FileMode, uid, gid int) error {
	if name != "." {
		if err := d.root.Mkdir(name, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fault.Conflict("%s is not a directory", filepath.Join(d.path, name)).WithFix("move it away")
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && (int(st.Uid) != uid || int(st.Gid) != gid) {
		if err := d.root.Lchown(name, uid, gid); err != nil {
			return fmt.Errorf("own %s: %w", name, err)
		}
	}
	if info.Mode()&(fs.ModePerm|fs.ModeSticky) != mode {
		if err := d.root.Chmod(name, mode); err != nil {
			return fmt.Errorf("set mode of %s: %w", name, err)
		}
	}
	return nil
}

// Current names the live release; empty if none is.
func (d *Dir) Current() (string, error) {
	target, err := d.root.Readlink("current")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read link to live release of %s: %w", d.app.Slug, err)
	}
	name, ok := strings.CutPrefix(target, "releases/")
	if !ok || CheckName(name) != nil {
		return "", fault.Conflict("%s points to %q, which is no release", d.CurrentPath(), target).WithFix("remove it")
	}
	return name, nil
}

// List returns the complete releases by name.
func (d *Dir) List() ([]Info, error) {
	entries, err := fs.ReadDir(d.root.FS(), "releases")
	if err != nil {
		return nil, fmt.Errorf("list releases of %s: %w", d.app.Slug, err)
	}
	var all []Info
	for _, e := range entries {
		if !e.IsDir() || CheckName(e.Name()) != nil {
			continue
		}
		if info, ok := d.Get(e.Name()); ok {
			all = append(all, info)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// Get returns a release if it is there and complete.
func (d *Dir) Get(name string) (Info, bool) {
	var info Info
	if CheckName(name) != nil {
		return info, false
	}
	b, err := d.root.ReadFile(markerOf(name))
	if err != nil || json.Unmarshal(b, &info) != nil || info.Name != name {
		return info, false
	}
	st, err := d.root.Lstat("releases/" + name)
	return info, err == nil && st.IsDir()
}

func markerOf(name string) string { return "releases/." + name + ".json" }

// write replaces a file as a whole or not at all, also if the power goes.
func (d *Dir) write(name string, b []byte, mode fs.FileMode, gid int) error {
	tmp := name + ".new"
	if err := d.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chown(0, gid), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), d.root.Remove(tmp))
	}
	if err := d.root.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.sync(filepath.Dir(name))
}

// sync makes the names in a directory survive a loss of power.
func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
