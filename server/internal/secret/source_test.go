package secret_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/secret"
)

// places has the same ring in all three places.
func places(t *testing.T) (secret.Places, *secret.Ring) {
	t.Helper()
	ring, path := newRing(t)
	p := secret.Places{Credentials: t.TempDir(), Environment: strings.ReplaceAll(strings.TrimSpace(string(ring.Encode())), "\n", ","), File: path}
	if err := os.WriteFile(filepath.Join(p.Credentials, secret.CredentialName), ring.Encode(), 0o400); err != nil {
		t.Fatal(err)
	}
	return p, ring
}

func TestLoad_TakesCredentialThenEnvironmentThenFile(t *testing.T) {
	all, ring := places(t)
	for want, p := range map[secret.Kind]secret.Places{
		secret.KindCredential:  all,
		secret.KindEnvironment: {Environment: all.Environment, File: all.File},
		secret.KindFile:        {Credentials: t.TempDir(), File: all.File},
	} {
		got, err := p.Load()
		if err != nil || got.Source().Kind != want || got.Sealing() != ring.Sealing() {
			t.Errorf("want the %s: got %v, %v", want, got, err)
		}
	}
	if _, err := (secret.Places{File: filepath.Join(t.TempDir(), "none")}).Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is none", err)
	}
}

func TestLoad_RefusesTwoPlacesThatDiffer(t *testing.T) {
	p, _ := places(t)
	other, path := newRing(t)
	p.File = path
	_, err := p.Load()
	if err == nil || !strings.Contains(err.Error(), p.Credentials) || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), strings.Fields(string(other.Encode()))[len(strings.Fields(string(other.Encode())))-1]) {
		t.Fatal("the error shows a key")
	}
}

func TestLoad_ChangesNoRingThatItCannotWrite(t *testing.T) {
	all, _ := places(t)
	ring, err := secret.Places{Environment: all.Environment}.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(secret.NewKey()); !errors.Is(err, secret.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	two := all.Environment + "," + secret.NewKey().Line()
	if ring, err = (secret.Places{Environment: two}).Load(); err != nil || len(ring.IDs()) != 2 {
		t.Fatalf("got %v, %v", ring, err)
	}
	if err := ring.Use(ring.IDs()[0]); err != nil {
		t.Errorf("choosing among keys that are there: %v", err)
	}
}

// TestTakeVariable runs itself as a child whose environment holds a ring.
func TestTakeVariable_WipesItOutOfTheProcess(t *testing.T) {
	const value = "deadbeef c2VjcmV0"
	if os.Getenv("GESTOR_TEST_CHILD") == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", t.Name(), "-test.v")
		child.Env = append(os.Environ(), "GESTOR_TEST_CHILD=1", secret.Variable+"="+value)
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	before, err := os.ReadFile("/proc/self/environ")
	if err != nil || !strings.Contains(string(before), value) {
		t.Fatalf("the test would prove nothing: %v", err)
	}
	if got := secret.TakeVariable(); got != value {
		t.Fatalf("got %q", got)
	}
	after, err := os.ReadFile("/proc/self/environ")
	if err != nil || strings.Contains(string(after), value) {
		t.Errorf("/proc still shows it, %v", err)
	}
	if _, there := os.LookupEnv(secret.Variable); there || secret.TakeVariable() != "" {
		t.Error("the variable is still there")
	}
}
