package secret_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/secret"
)

func newRing(t *testing.T) (*secret.Ring, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	ring, err := secret.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return ring, path
}

func TestOpen_ReturnsWhatWasSealedAlsoAfterARestart(t *testing.T) {
	ring, path := newRing(t)
	sealed := ring.Seal([]byte("hunter2"), "app_1/env/TOKEN")
	again, err := secret.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Open(sealed, "app_1/env/TOKEN")
	if err != nil || string(got) != "hunter2" {
		t.Fatalf("got %q, %v", got, err)
	}
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal("the sealed value shows the plaintext")
	}
}

func TestOpen_RefusesAValueMovedToAnotherPlace(t *testing.T) {
	ring, _ := newRing(t)
	sealed := ring.Seal([]byte("x"), "app_1/env/TOKEN")
	if _, err := ring.Open(sealed, "app_2/env/TOKEN"); !errors.Is(err, secret.ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}

func TestOpen_RefusesEveryFlippedBitAndEveryCut(t *testing.T) {
	ring, _ := newRing(t)
	sealed := ring.Seal([]byte("secret"), "a")
	for i := range sealed {
		bent := bytes.Clone(sealed)
		bent[i] ^= 1
		if _, err := ring.Open(bent, "a"); err == nil {
			t.Fatalf("accepted with byte %d changed", i)
		}
		if _, err := ring.Open(sealed[:i], "a"); err == nil {
			t.Fatalf("accepted when cut to %d bytes", i)
		}
	}
}

func TestOpen_NamesTheMissingKey(t *testing.T) {
	ring, _ := newRing(t)
	other, path := newRing(t)
	_, err := other.Open(ring.Seal([]byte("x"), "a"), "a")
	missing, ok := errors.AsType[*secret.MissingKeyError](err)
	if !ok || missing.From != "the file "+path || !strings.Contains(err.Error(), missing.ID) {
		t.Fatalf("got %v, want a MissingKeyError for %s", err, path)
	}
}

func TestUse_SealsWithTheNewKeyAndOpensTheOldAlsoAfterARestart(t *testing.T) {
	ring, path := newRing(t)
	old := ring.Seal([]byte("old"), "a")
	key := secret.NewKey()
	if err := ring.Add(key); err != nil {
		t.Fatal(err)
	}
	if again, err := secret.Open(path); err != nil || again.Sealing() == key.ID || !again.Has(key.ID) {
		t.Fatalf("%v, %v: a key that was only added seals, or is not there", again, err)
	}
	if err := ring.Use(key.ID); err != nil {
		t.Fatal(err)
	}
	fresh := ring.Seal([]byte("new"), "a")
	if id, ok := secret.KeyOf(fresh); !ok || id != key.ID {
		t.Fatalf("the value was sealed with %s, not %s", id, key.ID)
	}
	again, err := secret.Open(path)
	if err != nil || again.Sealing() != key.ID {
		t.Fatalf("after a restart %v seals, %v", again, err)
	}
	for want, sealed := range map[string][]byte{"old": old, "new": fresh} {
		if got, err := again.Open(sealed, "a"); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestRetire_KeepsTheKeyBesideTheRingForWhatWasSavedBefore(t *testing.T) {
	ring, path := newRing(t)
	first, old := ring.Sealing(), ring.Seal([]byte("old"), "a")
	key := secret.NewKey()
	if err := errors.Join(ring.Add(key), ring.Use(key.ID)); err != nil {
		t.Fatal(err)
	}
	if err := ring.Retire(key.ID, time.Now()); err == nil {
		t.Fatal("the key that seals was retired")
	}
	if err := errors.Join(ring.Retire(first, time.Now()), ring.Retire(first, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Open(old, "a"); err == nil {
		t.Fatal("the key opens although it was retired")
	}
	info, err := os.Stat(secret.RetiredPath(path))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("retired keys: %v, %v", info, err)
	}
	whole, err := secret.OpenWithRetired(path)
	if err != nil || whole.Sealing() != key.ID {
		t.Fatalf("got %v, %v", whole, err)
	}
	if got, err := whole.Open(old, "a"); err != nil || string(got) != "old" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestAdd_RefusesAnotherKeyOfTheSameIDAndWhatIsNoKey(t *testing.T) {
	ring, _ := newRing(t)
	key := secret.NewKey()
	if err := errors.Join(ring.Add(key), ring.Add(key)); err != nil {
		t.Fatal(err)
	}
	other := secret.NewKey()
	other.ID = key.ID
	for _, k := range []secret.Key{other, {ID: "zz", Raw: key.Raw}, {ID: "deadbeef", Raw: key.Raw[:5]}} {
		if err := ring.Add(k); err == nil {
			t.Errorf("%v was added", k)
		}
	}
	if text := fmt.Sprintf("%v %#v %s", key, key, ring); strings.Contains(text, string(key.Raw)) || len(text) > 200 {
		t.Errorf("a key shows: %s", text)
	}
}

func TestOpenFile_RefusesWideModesAndSaysHowToMendIt(t *testing.T) {
	_, path := newRing(t)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o622, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.Open(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Fatalf("mode %04o: got %v", mode, err)
		}
	}
}

func TestCreate_MakesAPrivateFileAndReplacesNone(t *testing.T) {
	_, path := newRing(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if _, err := secret.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v, want ErrExist", err)
	}
}

func TestOpenFile_RefusesSymlinksAndGarbageWithoutShowingIt(t *testing.T) {
	_, path := newRing(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Open(link); err == nil {
		t.Fatal("followed a symbolic link")
	}
	for _, content := range []string{"", "# only a comment\n", "deadbeef hunter2\n", "deadbeef\n", "zz AAAA\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.Open(path); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("content %q: got %v", content, err)
		}
	}
}

func FuzzOpen_NeverPanicsAndOnlyOpensItsOwn(f *testing.F) {
	ring, err := secret.Create(filepath.Join(f.TempDir(), "keyring"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, "")
	f.Add(ring.Seal([]byte("x"), "a"), "b")
	f.Fuzz(func(t *testing.T, sealed []byte, aad string) {
		if _, err := ring.Open(sealed, aad); err == nil && aad == "b" {
			t.Fatal("opened under another aad")
		}
	})
}
