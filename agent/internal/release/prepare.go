package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/proto/fault"
)

// Prepare makes a release complete on disk: fill writes its content into an empty directory, shared paths become
// links, then it gets its name. A release that is complete already, with the same digest, is left alone.
func (d *Dir) Prepare(info Info, shared []string, fill func(*os.Root) error) (already bool, err error) {
	if err := CheckName(info.Name); err != nil {
		return false, err
	}
	if have, ok := d.Get(info.Name); ok {
		if have.Digest != info.Digest {
			return false, fault.Conflict("release %s of %s is on this host with other content", info.Name, d.app.Slug)
		}
		return true, nil
	}
	if err := d.stage(info, shared, fill); err != nil {
		return false, fmt.Errorf("prepare release %s: %w", info.Name, err)
	}
	return false, nil
}

func (d *Dir) stage(info Info, shared []string, fill func(*os.Root) error) error {
	staging, final := "releases/.staging-"+info.Name, "releases/"+info.Name
	for _, left := range []string{staging, final, markerOf(info.Name)} { // of a run that was cut off
		if err := d.removeAll(left); err != nil {
			return err
		}
	}
	if err := d.root.Mkdir(staging, 0o755); err != nil {
		return err
	}
	d.step("fill")
	err := d.fill(staging, shared, fill)
	if err != nil {
		return errors.Join(err, d.removeAll(staging))
	}
	d.step("rename")
	if err := d.root.Rename(staging, final); err != nil {
		return err
	}
	d.step("mark") // syncs the directory of both; a mark without its release counts for nothing
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return d.write(markerOf(info.Name), b, 0o644, 0)
}

func (d *Dir) fill(staging string, shared []string, fill func(*os.Root) error) error {
	tree, err := d.root.OpenRoot(staging)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := fill(tree); err != nil {
		return err
	}
	if err := d.harden(tree); err != nil {
		return err
	}
	d.step("link")
	for _, s := range shared {
		if err := d.share(tree, s); err != nil {
			return fmt.Errorf("share %s: %w", s, err)
		}
	}
	d.step("sync")
	return archive.SyncTree(tree)
}

// OpenRelease opens the files of a complete release.
func (d *Dir) OpenRelease(name string) (*os.Root, error) {
	if _, ok := d.Get(name); !ok {
		return nil, fault.NotFound("release %s of %s is not on this host", name, d.app.Slug)
	}
	return d.root.OpenRoot("releases/" + name)
}

// harden makes the tree root's, readable by all who get there, writable by nobody else.
func (d *Dir) harden(tree *os.Root) error {
	return fs.WalkDir(tree.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() && !e.Type().IsRegular() && e.Type() != fs.ModeSymlink {
			return fault.Invalid("artifact", "%s is neither file, directory nor link", name)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || st.Gid != 0 {
			if err := tree.Lchown(name, 0, 0); err != nil {
				return err
			}
		}
		if e.Type() == fs.ModeSymlink {
			return nil
		}
		mode := fs.FileMode(0o644)
		if e.IsDir() || info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		if info.Mode() != mode|info.Mode().Type() {
			return tree.Chmod(name, mode)
		}
		return nil
	})
}

// share puts a link to shared/<p> in place of p. The link belongs to the app, as its target does: the web server
// follows a link only if both have one owner. What the release brought along at p is left out: shared/<p> is the
// app's own, empty the first time.
func (d *Dir) share(tree *os.Root, p string) error {
	if err := CheckShared(p); err != nil {
		return err
	}
	uid := int(d.app.UID)
	if err := d.sharedDirectories(p); err != nil {
		return err
	}
	if err := tree.RemoveAll(p); err != nil {
		return err
	}
	if parent := path.Dir(p); parent != "." {
		if err := tree.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	up := strings.Repeat("../", strings.Count(p, "/")+2)
	if err := tree.Symlink(up+"shared/"+p, p); err != nil {
		return err
	}
	return tree.Lchown(p, uid, uid)
}

// removeAll removes a tree; files the app cannot write need no more than that.
func (d *Dir) removeAll(name string) error {
	if err := d.root.RemoveAll(name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
