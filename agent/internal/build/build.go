// Package build turns commits into artifacts: it is the executor of the task kinds "build" and "detect".
//
// It fetches the source, asks the runners which of them fits, gives the chosen one a host to run its steps on, packs
// what came out, keeps it in the host's artifact store and uploads it. Each task has a folder of its own that is empty
// when the task begins and gone when it ends, so that a task that was cut off is simply run again.
//
// Everything that comes from the repository runs in the sandbox as the app's user, under the build's limits; nothing
// of it is alive when the artifact is packed. Caches are per app: one app's build never reads what another's wrote.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"github.com/saas-gestor/gestor/agent/internal/artifact"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/source"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner/client"
	"github.com/saas-gestor/gestor/proto/fault"
)

// Uploader brings artifacts to the control server.
type Uploader interface {
	// Put uploads size bytes from r for a task under its fence. An artifact the server has already is not sent.
	Put(ctx context.Context, taskID string, fence uint64, digest string, size int64, r io.Reader) error
}

// Options configures a Builder. All fields but Log and CacheBytes are required.
type Options struct {
	// Dir holds the folders of running tasks. The users of apps must be able to pass through its parents.
	Dir string
	// CacheDir holds what is kept between builds. The same holds for its parents.
	CacheDir string
	// CacheBytes is what all caches may take together; 5 GiB if 0.
	CacheBytes int64
	// DetectUID is the user that looks into repositories no app owns yet; not root.
	DetectUID uint32
	// EnsureUser makes the app's system user, or finds it as it should be: systemd and ssh run nothing for a uid
	// without a name.
	EnsureUser func(ctx context.Context, slug string, uid uint32) error

	Git       *source.Git
	Runtimes  *runtime.Manager
	Runners   *client.Pool
	Sandbox   process.Sandbox
	Artifacts *artifact.Store
	Upload    Uploader
	Log       *slog.Logger
}

// Builder makes the two executors.
type Builder struct {
	o     Options
	cache cache
}

// New prepares the folders and removes what tasks of an earlier agent left.
func New(o Options) (*Builder, error) {
	if o.DetectUID == 0 {
		return nil, errors.New("build: a user other than root is needed to look into repositories")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 5 << 30
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("prepare builds: %w", err)
	}
	for _, dir := range []string{o.Dir, o.CacheDir} {
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
			return nil, fmt.Errorf("prepare builds: %w", err)
		}
	}
	return &Builder{o: o, cache: newCache(o.CacheDir, o.CacheBytes)}, nil
}

// Executors are the executors for "build" and "detect".
func (b *Builder) Executors() []task.Executor {
	return []task.Executor{&buildExecutor{b}, &detectExecutor{b}}
}

// Forget removes what builds of an app keep: caches, mirrors of its repositories and the last tree. What a build that
// is under way uses goes when it ends.
func (b *Builder) Forget(appID string) error {
	if !validID.MatchString(appID) {
		return fmt.Errorf("forget builds: %q cannot be the id of an app", appID)
	}
	if err := errors.Join(b.cache.Forget(appID), b.o.Git.Forget(appID)); err != nil {
		return fmt.Errorf("forget builds of app %s: %w", appID, err)
	}
	return nil
}

// workspace is the folder of one task.
type workspace struct {
	dir  string // root's
	src  string // the tree; the user's
	home string // HOME of the steps; the user's
	root string // the app's folder, relative to src
	uid  uint32
	got  *source.Request // the fetch, if it has ended well
}

// tree is the path of the app's folder, for programs that run as the user. What steps have run in may be a link by
// now: root opens it with open only.
func (w workspace) tree() string { return filepath.Join(w.src, w.root) }

// open opens the app's folder. It begins at src, which root's folder holds and the user cannot replace, and follows no
// link out of it: below, the user may have put a link where the app's folder was.
func (w workspace) open() (*os.Root, error) {
	src, err := os.OpenRoot(w.src)
	if err != nil {
		return nil, fmt.Errorf("open the build folder: %w", err)
	}
	defer src.Close()
	root, err := src.OpenRoot(w.root)
	if err != nil {
		return nil, fault.Invalid("root", "the folder %s is not there after the build", w.root).WithCause(err)
	}
	return root, nil
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// workspace makes an empty folder for a task.
func (b *Builder) workspace(id string, uid uint32) (workspace, error) {
	if !validID.MatchString(id) {
		return workspace{}, fmt.Errorf("task id %q cannot be a folder", id)
	}
	if uid == 0 {
		return workspace{}, errors.New("build: a build must not run as root")
	}
	dir := filepath.Join(b.o.Dir, id)
	w := workspace{dir: dir, src: filepath.Join(dir, "src"), home: filepath.Join(dir, "home"), uid: uid}
	if err := os.RemoveAll(dir); err != nil {
		return workspace{}, fmt.Errorf("empty the build folder: %w", err)
	}
	err := errors.Join(os.Mkdir(dir, 0o711), os.Chmod(dir, 0o711))
	for _, own := range []string{w.src, w.home} {
		err = errors.Join(err, os.Mkdir(own, 0o700), os.Lchown(own, int(uid), int(uid)))
	}
	if err != nil {
		return workspace{}, fmt.Errorf("make the build folder: %w", err)
	}
	return w, nil
}

// remove removes the folder. By then nothing that could write to it is alive.
func (b *Builder) remove(w workspace) {
	if err := os.RemoveAll(w.dir); err != nil {
		b.o.Log.Error("build folder cannot be removed", "dir", w.dir, "err", err)
	}
}
