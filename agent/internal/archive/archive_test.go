package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/saas-gestor/gestor/proto/fault"
)

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pack(t testing.TB, dir string, o PackOptions) ([]byte, Summary) {
	t.Helper()
	var b bytes.Buffer
	sum, err := Pack(t.Context(), openRoot(t, dir), o, &b)
	must(t, err)
	return b.Bytes(), sum
}

func TestPack_GoesThroughUnpackUnchanged(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(src, "a/b"), 0o700))
	must(t, os.MkdirAll(filepath.Join(src, "skip/me"), 0o700))
	must(t, os.WriteFile(filepath.Join(src, "a/b/file"), []byte("content"), 0o600))
	must(t, os.WriteFile(filepath.Join(src, "a/run"), []byte("#!"), 0o700))
	must(t, os.WriteFile(filepath.Join(src, "a/"+strings.Repeat("n", 200)), nil, 0o600))
	must(t, os.Symlink("../a/b/file", filepath.Join(src, "a/link")))
	when := time.Unix(1_700_000_000, 0)
	packed, sum := pack(t, src, PackOptions{Exclude: []string{"skip"}, ModTime: when})
	got, err := Unpack(t.Context(), bytes.NewReader(packed), openRoot(t, dst), Limits{})
	must(t, err)
	if got != sum || sum.Bytes != int64(len(packed)) || sum.Unpacked != 9 || sum.Files != 6 {
		t.Errorf("packed %+v, unpacked %+v", sum, got)
	}
	for name, mode := range map[string]os.FileMode{"a/b/file": 0o644, "a/run": 0o755, "a/b": 0o755 | os.ModeDir} {
		info, err := os.Lstat(filepath.Join(dst, name))
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if info, _ := os.Stat(filepath.Join(dst, "a/b/file")); !info.ModTime().Equal(when) {
		t.Errorf("time %v", info.ModTime())
	}
	if b, _ := os.ReadFile(filepath.Join(dst, "a/link")); string(b) != "content" {
		t.Errorf("behind the link is %q", b)
	}
	if _, err := os.Stat(filepath.Join(dst, "skip")); err == nil {
		t.Error("the excluded folder is there")
	}
}

func TestPack_DependsOnlyOnTheTree(t *testing.T) {
	var digests []string
	for _, order := range [][]string{{"a", "b", "c"}, {"c", "b", "a"}} {
		dir := t.TempDir()
		for _, name := range order {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o640))
		}
		_, sum := pack(t, dir, PackOptions{})
		digests = append(digests, sum.Digest)
	}
	if digests[0] != digests[1] {
		t.Fatal("the digests differ")
	}
}

func TestPack_RefusesAndNamesWhatIsNoFile(t *testing.T) {
	tests := map[string]func(path string) error{
		"pipe":                   func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"device":                 func(p string) error { return syscall.Mknod(p, syscall.S_IFCHR|0o600, 0x103) },
		"only relative links":    func(p string) error { return os.Symlink("/etc/passwd", p) },
		"leads out of the tree":  func(p string) error { return os.Symlink("../../etc/passwd", p) },
		"leads out of the tree ": func(p string) error { return os.Symlink("x/../../y", p) },
	}
	for want, make := range tests {
		dir := t.TempDir()
		must(t, make(filepath.Join(dir, "odd")))
		_, err := Pack(t.Context(), openRoot(t, dir), PackOptions{}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "odd") || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestPack_EndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := Pack(ctx, openRoot(t, dir), PackOptions{}, io.Discard); !errors.Is(err, gone) {
		t.Fatalf("got %v", err)
	}
}

type item struct {
	h    tar.Header
	body string
}

func file(name string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, "x"}
}

func folder(name string) item {
	return item{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, ""}
}

func link(name, to string) item {
	return item{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}

// handmade packs entries as an attacker would.
func handmade(t testing.TB, items []item, trailer string) []byte {
	t.Helper()
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b)
	must(t, err)
	w := tar.NewWriter(enc)
	for _, i := range items {
		i.h.Size = int64(len(i.body))
		must(t, w.WriteHeader(&i.h))
		_, err := io.WriteString(w, i.body)
		must(t, err)
	}
	must(t, w.Close())
	_, err = io.WriteString(enc, trailer)
	must(t, err)
	must(t, enc.Close())
	return b.Bytes()
}

func TestUnpack_RefusesEveryClassOfHostileArchive(t *testing.T) {
	special := func(mode int64) item { i := file("a"); i.h.Mode |= mode; return i }
	typed := func(flag byte) item {
		return item{tar.Header{Typeflag: flag, Name: "a", Linkname: "b", Mode: 0o644}, ""}
	}
	many := make([]item, 12)
	for i := range many {
		many[i] = file(fmt.Sprint(i))
	}
	big := file("big")
	big.body = strings.Repeat("x", 2000)
	tests := map[string]struct {
		items   []item
		trailer string
		want    string
	}{
		"parent":             {[]item{file("../evil")}, "", "not a plain relative path"},
		"parent inside":      {[]item{folder("a"), file("a/../../evil")}, "", "not a plain relative path"},
		"absolute":           {[]item{file("/evil")}, "", "not a plain relative path"},
		"dot":                {[]item{file("./a")}, "", "not a plain relative path"},
		"not utf-8":          {[]item{file("a\xff")}, "", "not a plain relative path"},
		"hard link":          {[]item{typed(tar.TypeLink)}, "", "hard link"},
		"device":             {[]item{typed(tar.TypeChar)}, "", "neither a file"},
		"block device":       {[]item{typed(tar.TypeBlock)}, "", "neither a file"},
		"pipe":               {[]item{typed(tar.TypeFifo)}, "", "neither a file"},
		"setuid":             {[]item{special(0o4000)}, "", "special mode"},
		"setgid":             {[]item{special(0o2000)}, "", "special mode"},
		"sticky":             {[]item{special(0o1000)}, "", "special mode"},
		"absolute link":      {[]item{link("a", "/etc")}, "", "only relative"},
		"outward link":       {[]item{link("a", "../etc")}, "", "leads out"},
		"link over a link":   {[]item{folder("d"), link("d/up", ".."), link("a", "d/up/../x")}, "", "leads out"},
		"through a link":     {[]item{folder("d"), link("l", "d"), file("l/x")}, "", "used as a folder"},
		"file as a folder":   {[]item{file("f"), file("f/x")}, "", "used as a folder"},
		"folder missing":     {[]item{file("d/x")}, "", "used as a folder"},
		"twice":              {[]item{file("a"), file("a")}, "", "twice"},
		"file over a link":   {[]item{link("a", "b"), file("a")}, "", "twice"},
		"long path":          {[]item{file(strings.Repeat("n", 300))}, "", "longer than"},
		"deep path":          {[]item{folder("a"), folder("a/b"), folder("a/b/c"), file("a/b/c/d")}, "", "deeper than"},
		"too many":           {many, "", "more than 10 entries"},
		"too large":          {[]item{big}, "", "take more than"},
		"garbage at the end": {[]item{file("a")}, "garbage", "something follows"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			must(t, os.Mkdir(dir, 0o755))
			archive := handmade(t, test.items, test.trailer)
			_, err := Unpack(t.Context(), bytes.NewReader(archive), openRoot(t, dir),
				Limits{Files: 10, Bytes: 1000, PathLen: 250, Depth: 3})
			if !errors.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if entries, _ := os.ReadDir(outer); len(entries) != 1 {
				t.Errorf("written outside: %v", entries)
			}
		})
	}
}

func TestUnpack_RefusesABomb(t *testing.T) {
	i := file("zeros")
	i.body = strings.Repeat("\x00", 80<<20)
	_, err := Unpack(t.Context(), bytes.NewReader(handmade(t, []item{i}, "")), openRoot(t, t.TempDir()), Limits{Ratio: 100})
	if err == nil || !strings.Contains(err.Error(), "100 times its size") {
		t.Fatalf("got %v", err)
	}
}

func TestUnpack_RefusesACutOrChangedArchive(t *testing.T) {
	whole := handmade(t, []item{file("a"), file("b")}, "")
	changed := bytes.Clone(whole)
	changed[len(changed)-1] ^= 1
	for name, b := range map[string][]byte{
		"cut": whole[:len(whole)-5], "changed": changed, "garbage behind": append(bytes.Clone(whole), "garbage"...), "empty": nil,
	} {
		if _, err := Unpack(t.Context(), bytes.NewReader(b), openRoot(t, t.TempDir()), Limits{}); err == nil && name != "empty" {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestUnpack_SaysThatTheDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	i := file("big")
	i.body = strings.Repeat("x", 3<<20)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	_, err = Unpack(t.Context(), bytes.NewReader(handmade(t, []item{i}, "")), root, Limits{})
	if !errors.Is(err, fault.KindExhausted) || !strings.Contains(err.Error(), "MiB is left") {
		t.Fatalf("got %v", err)
	}
}

func TestSyncTree_Works(t *testing.T) {
	must(t, SyncTree(openRoot(t, t.TempDir())))
}

func FuzzUnpack(f *testing.F) {
	f.Add(handmade(f, []item{folder("d"), file("d/x"), link("l", "d")}, ""))
	f.Add(handmade(f, []item{file("../x")}, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		must(t, os.Mkdir(dir, 0o755))
		_, _ = Unpack(t.Context(), bytes.NewReader(b), openRoot(t, dir), Limits{Bytes: 1 << 20, Files: 50})
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Fatalf("written outside: %v", entries)
		}
	})
}

func BenchmarkUnpack200Files2MB(b *testing.B) {
	dir := b.TempDir()
	for i := range 200 {
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i), 1, 2}, 3500), 0o600))
	}
	packed, _ := pack(b, dir, PackOptions{})
	for b.Loop() {
		_, err := Unpack(b.Context(), bytes.NewReader(packed), openRoot(b, b.TempDir()), Limits{})
		must(b, err)
	}
}

func TestUnpackLike_LinksWhatIsTheSameAndNothingElse(t *testing.T) {
	from, earlier, into := t.TempDir(), t.TempDir(), t.TempDir()
	write := func(dir, name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.Chmod(path, mode))
	}
	for name, same := range map[string]bool{"same": true, "sub/same": true, "content": false, "size": false, "mode": false, "owner": false, "link": false} {
		write(from, name, "text", 0o644)
		write(earlier, name, map[bool]string{true: "text", false: "tex."}[same], 0o644)
	}
	write(earlier, "size", "longer text", 0o644)
	write(earlier, "mode", "text", 0o755)
	write(earlier, "owner", "text", 0o644)
	must(t, os.Lchown(filepath.Join(earlier, "owner"), 65534, 65534))
	must(t, os.Remove(filepath.Join(earlier, "link")))
	must(t, os.Symlink("same", filepath.Join(earlier, "link")))
	packed, sum := pack(t, from, PackOptions{ModTime: time.Unix(1e9, 0)})
	got, err := UnpackLike(t.Context(), bytes.NewReader(packed), openRoot(t, into), Limits{}, openRoot(t, earlier))
	must(t, err)
	if got.Digest != sum.Digest || got.Unpacked != sum.Unpacked {
		t.Errorf("got %+v, want %+v", got, sum)
	}
	for _, name := range []string{"same", "sub/same", "content", "size", "mode", "owner", "link"} {
		text, err := os.ReadFile(filepath.Join(into, name))
		must(t, err)
		if string(text) != "text" {
			t.Errorf("%s holds %q", name, text)
		}
		a, err := os.Lstat(filepath.Join(into, name))
		must(t, err)
		b, err := os.Lstat(filepath.Join(earlier, name))
		must(t, err)
		if linked := os.SameFile(a, b); linked != strings.HasSuffix(name, "same") {
			t.Errorf("%s is the earlier file: %v", name, linked)
		}
	}
}
