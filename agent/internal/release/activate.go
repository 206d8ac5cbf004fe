package release

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Activate makes a complete release live, or none if name is empty. A fence below the highest one seen has no
// effect and is an error of kind conflict; the same one again is harmless.
func (d *Dir) Activate(name string, fence uint64) error {
	if name != "" {
		if _, ok := d.Get(name); !ok {
			return fault.NotFound("release %s of %s is not complete on this host", name, d.app.Slug).WithFix("prepare it first")
		}
	}
	d.step("fence")
	if err := d.Fence(fence); err != nil {
		return err
	}
	current, err := d.Current()
	if err == nil && current == name {
		return nil
	}
	if name == "" {
		if err := d.root.Remove("current"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take %s off: %w", d.app.Slug, err)
		}
		return d.sync(".")
	}
	if err := errors.Join(d.publishEnv(name), d.flip(name)); err != nil {
		return fmt.Errorf("activate release %s: %w", name, err)
	}
	return nil
}

func (d *Dir) flip(name string) error {
	const next = ".current.next"
	if err := d.root.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.step("link new")
	if err := d.root.Symlink("releases/"+name, next); err != nil {
		return err
	}
	d.step("rename link")
	if err := d.root.Rename(next, "current"); err != nil {
		return err
	}
	d.step("sync link")
	return d.sync(".")
}

// Fence advances the fence, which is kept on disk. A lower one than before is an error of kind conflict.
func (d *Dir) Fence(fence uint64) error {
	last, err := d.lastFence()
	if err != nil {
		return err
	}
	if fence < last {
		return fault.Conflict("this work on %s was assigned before newer work that has begun (fence %d, now %d)", d.app.Slug, fence, last)
	}
	if fence == last {
		return nil
	}
	return d.write("releases/.fence", []byte(strconv.FormatUint(fence, 10)+"\n"), 0o644, 0)
}

func (d *Dir) lastFence() (uint64, error) {
	b, err := d.root.ReadFile("releases/.fence")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read fence of %s: %w", d.app.Slug, err)
	}
	fence, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("fence of %s is damaged: %w", d.app.Slug, err)
	}
	return fence, nil
}

// Prune removes all releases but the live one and those to keep, and what was left half made. It returns what it
// removed.
func (d *Dir) Prune(keep []string) ([]string, error) {
	current, err := d.Current()
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{current: true, "current": true}
	for _, k := range keep {
		kept[k] = true
	}
	entries, err := fs.ReadDir(d.root.FS(), "releases")
	if err != nil {
		return nil, fmt.Errorf("list releases of %s: %w", d.app.Slug, err)
	}
	var removed []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, ".staging-"):
			err = errors.Join(err, d.removeAll("releases/"+name))
		case CheckName(name) == nil && e.IsDir() && !kept[name]:
			// The mark first: what is half removed is no release.
			err = errors.Join(err, d.removeAll(markerOf(name)), d.removeAll(envOf(name)), d.removeAll("releases/"+name))
			removed = append(removed, name)
		}
	}
	if err != nil {
		return removed, fmt.Errorf("prune releases of %s: %w", d.app.Slug, err)
	}
	return removed, nil
}

// Remove removes the releases; with purge all there is of the app. Nothing may be live any more.
func (d *Dir) Remove(purge bool) error {
	if err := errors.Join(d.removeAll("current"), d.removeAll("releases")); err != nil {
		return fmt.Errorf("remove releases of %s: %w", d.app.Slug, err)
	}
	if !purge {
		return nil
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("purge %s: %w", d.app.Slug, err)
	}
	for _, e := range entries {
		if err := d.removeAll(e.Name()); err != nil {
			return fmt.Errorf("purge %s: %w", d.app.Slug, err)
		}
	}
	return nil
}
