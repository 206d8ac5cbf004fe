package source

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// kept is the tree of an earlier fetch beside its mirror, with its index, in a folder that only root enters. git then
// writes no more than what changed since.
type kept struct{ dir string }

func (m mirror) kept() kept { return kept{m.dir + ".tree"} }

func (k kept) tree() string  { return filepath.Join(k.dir, "src") }
func (k kept) index() string { return filepath.Join(k.dir, "index") }

// indexOf is where a fetch leaves the index of the tree, beside it.
func indexOf(r Request) string { return r.Into + ".index" }

// Keep takes the tree of a fetch that has ended, for the next fetch of the same repository for the same owner to begin
// with. It must be as it was fetched: nothing but git may have been run in it, or else what that left behind would
// become part of the next tree. r.Into is gone afterwards. That a tree cannot be kept is no error.
func (g *Git) Keep(r Request) {
	addr, err := ParseAddress(r.Source.GetRepository(), g.o.Policy)
	if err != nil || !keepable(r) {
		return
	}
	defer g.folders.Use(folderOf(r.Owner))()
	m := g.mirror(r.Owner, addr)
	unlock := g.lock(m.dir)
	defer unlock()
	k := m.kept()
	err = errors.Join(os.RemoveAll(k.dir), os.Mkdir(k.dir, 0o700))
	if err == nil {
		err = errors.Join(os.Rename(indexOf(r), k.index()), os.Rename(r.Into, k.tree()))
	}
	if err != nil {
		_ = os.RemoveAll(k.dir)
	}
}

// keepable trees are git's own work alone.
func keepable(r Request) bool { return !r.Source.GetLfs() && !r.Source.GetSubmodules() }

// reuse brings the kept tree, if there is one, to where the next is wanted, which is an empty folder. It is there once
// only: were something to go wrong with it, the next attempt begins with nothing.
func (s *session) reuse() error {
	k := s.mirror.kept()
	defer os.RemoveAll(k.dir) //nolint:errcheck // what is left is of no use, and in nobody's way
	if _, err := os.Lstat(k.index()); err != nil || !keepable(s.r) {
		return nil // there is none
	}
	if err := syscall.Rename(k.tree(), s.r.Into); err != nil { // os.Rename refuses to replace a folder
		return nil // another file system perhaps; a new tree it is
	}
	s.reused = true
	return os.Rename(k.index(), filepath.Join(s.dir, "index"))
}

// leaveIndex puts the index beside the tree, where Keep finds it.
func (s *session) leaveIndex() error {
	if !keepable(s.r) {
		return nil
	}
	return os.Rename(filepath.Join(s.dir, "index"), indexOf(s.r))
}
