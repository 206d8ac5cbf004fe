package release

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/proto/fault"
)

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	return must(os.Lstat(path))(t).Sys().(*syscall.Stat_t).Uid
}

func TestPrepare_FollowsNoLinkOnTheWayToASharedDirectory(t *testing.T) {
	for _, target := range []string{"../../releases", "../logs", "../uploads"} {
		d := open(t, t.TempDir())
		storage := filepath.Join(d.SharedPath(), "storage")
		if err := os.Mkdir(storage, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(storage, "a")); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"storage/a", "storage/a/mine"} {
			_, err := d.Prepare(Info{Name: "r1"}, []string{p}, content("one"))
			if fault.KindOf(err) != fault.KindConflict || !strings.Contains(err.Error(), storage+"/a is a link") {
				t.Errorf("%s by way of %s: got %v, want a conflict", p, target, err)
			}
		}
		if made := filepath.Join(storage, target, "mine"); exists(made) {
			t.Errorf("%s was made behind a link", made)
		}
		if uid := ownerOf(t, filepath.Join(storage, target)); target != "../uploads" && uid == testUID {
			t.Errorf("%s was given to the app", target)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestPrepare_RefusesAFileInPlaceOfASharedDirectory(t *testing.T) {
	d := open(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(d.SharedPath(), "storage"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Prepare(Info{Name: "r1"}, []string{"storage"}, content("one"))
	if fault.KindOf(err) != fault.KindConflict {
		t.Errorf("got %v, want a conflict", err)
	}
}

// The app swaps a directory of its own and a link to the releases as fast as it can.
func TestPrepare_GivesAwayNothingWhileTheAppSwapsLinks(t *testing.T) {
	d := open(t, t.TempDir())
	storage := filepath.Join(d.SharedPath(), "storage")
	if err := os.MkdirAll(filepath.Join(storage, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../..", filepath.Join(storage, "b")); err != nil {
		t.Fatal(err)
	}
	own := must(os.OpenRoot(filepath.Join(storage, "a")))(t)
	defer own.Close()
	stop, swapping := make(chan struct{}), sync.WaitGroup{}
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, storage+"/a", unix.AT_FDCWD, storage+"/b", unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 500 {
		_ = d.sharedDirectories("storage/a/releases/x")
		if err := own.RemoveAll("releases"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	swapping.Wait()
	if uid := ownerOf(t, filepath.Join(d.Path(), "releases")); uid != 0 {
		t.Errorf("the releases belong to %d", uid)
	}
	if exists(filepath.Join(d.Path(), "releases/x")) {
		t.Error("a directory was made in the releases")
	}
}

func TestPrepare_KeepsASharedDirectoryAsTheAppHasIt(t *testing.T) {
	d := open(t, t.TempDir())
	leftover := filepath.Join(d.SharedPath(), sharedNew)
	if err := os.Mkdir(leftover, 0o755); err != nil { // of a run that was cut off
		t.Fatal(err)
	}
	for range 2 {
		if err := d.sharedDirectories("storage/app"); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"storage", "storage/app"} {
		if uid := ownerOf(t, filepath.Join(d.SharedPath(), p)); uid != testUID {
			t.Errorf("%s belongs to %d", p, uid)
		}
	}
	if exists(leftover) {
		t.Errorf("%s was left", leftover)
	}
}

func TestCheckSharedList_RefusesWhatReachesIntoOtherPaths(t *testing.T) {
	if err := CheckSharedList([]string{"uploads", "storage/app", "storage/logs", "up", "data_1-x.d"}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{
		{"logs"},
		{"logs/a"},
		{"uploads/a"},
		{".env"},
		{".env/a"},
		{sharedNew},
		{"a", "a/b"},
		{"a/b", "a"},
		{"a b"},
		{"a:b"},
		{"a%b"},
		{"a\\b"},
		{"a\"b"},
		{"é"},
		{"../a"},
		{"/a"},
		{"a//b"},
		{"a/"},
		{""},
		{"."},
		{"a\n"},
	} {
		if err := CheckSharedList(bad); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%q: got %v, want invalid", bad, err)
		}
	}
}
