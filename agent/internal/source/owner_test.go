package source

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// race runs the function again and again as the user of an app until the test stops it.
func race(t *testing.T, f func()) (stop func()) {
	t.Helper()
	var wait sync.WaitGroup
	ended, began := make(chan struct{}), make(chan struct{})
	wait.Go(func() {
		runtime.LockOSThread() // for good: the thread is not root's any more and ends with the goroutine
		_, _ = unix.SetfsgidRetGid(testUID)
		_, _ = unix.SetfsuidRetUid(testUID)
		close(began)
		for {
			select {
			case <-ended:
				return
			default:
				f()
			}
		}
	})
	<-began
	return sync.OnceFunc(func() { close(ended); wait.Wait() })
}

// victim is a file of root's that a link may lead to.
func victim(t *testing.T, dir string) (path string, intact func() bool) {
	t.Helper()
	path = filepath.Join(dir, "victim")
	must(t, os.WriteFile(path, []byte("root's"), 0o600))
	return path, func() bool {
		b, _ := os.ReadFile(path)
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && st.Uid == 0 && info.Mode().Perm() == 0o600 && string(b) == "root's"
	}
}

func TestRecreate_WritesNothingThroughLinksTheUserPutsIntoTheMirror(t *testing.T) {
	dir := newRig(t, Options{}).dir
	path, intact := victim(t, dir)
	m := mirror{dir: filepath.Join(dir, "mirror")}
	stop := race(t, func() {
		_ = os.Symlink(path, filepath.Join(m.dir, "config"))
		_ = os.Symlink(path, filepath.Join(m.dir, "HEAD"))
	})
	defer stop()
	for range 300 {
		must(t, m.recreate(testUID))
		if !intact() {
			t.Fatal("root wrote through a link of the user's")
		}
	}
}

func TestNewSession_WritesNothingThroughLinksTheUserPutsIntoItsFolder(t *testing.T) {
	r := newRig(t, Options{})
	path, intact := victim(t, r.dir)
	scratch := r.git.scratch()
	must(t, os.Chmod(scratch, 0o755)) // the worst case: the folder's name is known
	stop := race(t, func() {
		folders, _ := filepath.Glob(filepath.Join(scratch, "git-*"))
		for _, f := range folders {
			_ = os.Symlink(path, filepath.Join(f, "known_hosts"))
			_ = os.Symlink(path, filepath.Join(f, configName))
		}
	})
	defer stop()
	for range 300 {
		s, err := r.git.newSession(Request{UID: testUID, Source: &agentv1.Source{}}, Address{Protocol: "file"}, mirror{})
		must(t, err)
		s.close()
		if !intact() {
			t.Fatal("root wrote through a link of the user's")
		}
	}
}
