package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is a disk in memory with a size, which can be full, slow, stuck or broken. As with a real one, what is written goes to
// the kernel's cache, and it is fsync that meets the disk. What is on it survives the processes that use it, not its Close.
// It is safe for concurrent use.
type Disk struct {
	Dir string // where it is mounted

	backing string
	size    int64
	server  *fuse.Server

	mu     sync.Mutex
	delay  time.Duration
	fault  syscall.Errno
	stuck  chan struct{} // closed when the disk comes unstuck; nil while it is not stuck
	stuckN int           // calls that wait for that
}

// OpenDisk mounts a disk of so many bytes at dir/disk. Its pages are kept in dir/memory.
func OpenDisk(dir string, size int64) (*Disk, error) {
	d := &Disk{Dir: filepath.Join(dir, "disk"), backing: filepath.Join(dir, "memory"), size: size}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, fmt.Errorf("a slow disk needs FUSE, and this machine has none: %w; run scripts/setup.sh, or: modprobe fuse", err)
	}
	for _, path := range []string{d.Dir, d.backing} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.Mount("tmpfs", d.backing, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", size)); err != nil {
		return nil, fmt.Errorf("mount memory: %w", err)
	}
	if err := d.mount(); err != nil {
		return nil, errors.Join(err, unix.Unmount(d.backing, unix.MNT_DETACH))
	}
	return d, nil
}

func (d *Disk) mount() error {
	root, err := newRoot(d)
	if err != nil {
		return err
	}
	options := &fs.Options{MountOptions: fuse.MountOptions{
		AllowOther: true, DirectMountStrict: true, FsName: "gestor-lab", Name: "lab", DisableXAttrs: true,
	}}
	if d.server, err = fs.Mount(d.Dir, root, options); err != nil {
		return fmt.Errorf("mount a disk with FUSE at %s: %w; as root, run scripts/setup.sh, or: modprobe fuse", d.Dir, err)
	}
	return nil
}

// Slow makes each fsync take so long more.
func (d *Disk) Slow(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// Break makes each fsync fail.
func (d *Disk) Break(with syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = with
}

// Hang makes each fsync wait until Repair, whatever becomes of the caller, as a dead disk does: a process that is killed
// meanwhile is not gone before.
func (d *Disk) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck == nil {
		d.stuck = make(chan struct{})
	}
}

// Stuck is how many calls have waited since the disk hangs.
func (d *Disk) Stuck() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stuckN
}

// Fill leaves no space on the disk.
func (d *Disk) Fill() error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.backing, &st); err != nil {
		return err
	}
	used := int64(st.Blocks-st.Bfree) * st.Bsize
	return d.resize(max(used, st.Bsize))
}

func (d *Disk) resize(size int64) error {
	if err := unix.Mount("", d.backing, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("resize the disk at %s to %d bytes: %w", d.Dir, size, err)
	}
	return nil
}

// Repair undoes all of it.
func (d *Disk) Repair() error {
	d.mu.Lock()
	d.delay, d.fault, d.stuckN = 0, 0, 0
	if d.stuck != nil {
		close(d.stuck)
		d.stuck = nil
	}
	d.mu.Unlock()
	return d.resize(d.size)
}

// Close repairs and unmounts it. The processes that use it must have ended.
func (d *Disk) Close() error {
	return errors.Join(d.Repair(), d.server.Unmount(), unix.Unmount(d.backing, unix.MNT_DETACH))
}

// suffer is what an fsync goes through.
func (d *Disk) suffer() syscall.Errno {
	d.mu.Lock()
	delay, fault, stuck := d.delay, d.fault, d.stuck
	if stuck != nil {
		d.stuckN++
	}
	d.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if delay > 0 {
		<-time.After(delay)
	}
	return fault
}

// newRoot is the memory seen through the disk's faults.
func newRoot(d *Disk) (fs.InodeEmbedder, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(d.backing, &st); err != nil {
		return nil, err
	}
	root := &fs.LoopbackRoot{Path: d.backing, Dev: st.Dev}
	top := &node{LoopbackNode: &fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	return top, nil
}

// node is a file or directory. Reads and writes go past it, straight to the memory.
type node struct {
	*fs.LoopbackNode
	disk *Disk
}

var (
	_ fs.NodeFsyncer     = (*node)(nil)
	_ fs.NodeWrapChilder = (*node)(nil)
)

// WrapChild implements fs.NodeWrapChilder: what is below is on the same disk.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	if child, ok := ops.(*fs.LoopbackNode); ok {
		return &node{LoopbackNode: child, disk: n.disk}
	}
	return ops
}

// Fsync implements fs.NodeFsyncer; it is called for directories, and for files before their own.
func (n *node) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.disk.suffer(); errno != 0 {
		return errno
	}
	if f, ok := h.(*fs.LoopbackFile); ok {
		return f.Fsync(ctx, flags)
	}
	return 0 // a directory in memory
}
