package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/agent/internal/source"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// secretFolder is one that everybody may enter, with a file that only root may read.
func (r *rig) secretFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(r.dir, "secret")
	if err := os.MkdirAll(filepath.Join(dir, "page"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.html", "page/index.html"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("root's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuild_PacksNothingFromOutsideWhenItsFolderBecomesALink(t *testing.T) {
	tests := map[string]struct{ command, output string }{
		"absolute":       {"cd .. && mv web old && ln -s SECRET web", ""},
		"relative":       {"cd .. && mv web old && ln -s ../../../secret web", ""},
		"output within":  {"cd .. && mv web old && ln -s SECRET web", "page"},
		"output":         {"rm -r page && ln -s SECRET/page page", "page"},
		"link to a link": {"cd .. && mv web old && ln -s SECRET inner && ln -s inner web", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			secret := r.secretFolder(t)
			repo := r.repo(t, map[string]string{"web/index.html": "x", "web/page/index.html": "x"})
			built, out, err := r.build(t, &agentv1.BuildWork{
				Source: &agentv1.Source{Repository: repo, Root: "web"}, Type: gestorv1.AppType_APP_TYPE_STATIC, Output: test.output,
				BuildCommand: strings.ReplaceAll(test.command, "SECRET", secret),
			})
			if err == nil {
				b, _ := os.ReadFile(filepath.Join(r.unpack(t, built.ArtifactDigest), "index.html"))
				t.Fatalf("an artifact was made; its index.html is %q\n%s", b, out)
			}
			if len(r.uploads.got) != 0 {
				t.Error("something was uploaded")
			}
		})
	}
}

func TestHost_CachesNothingOutsideWhenTheAppsFolderBecomesALink(t *testing.T) {
	r := newRig(t)
	secret := r.secretFolder(t)
	w, err := r.workspace("tsk_1", testUID)
	if err != nil {
		t.Fatal(err)
	}
	w.root = "web"
	pages := filepath.Join(w.src, "web", "page")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pages, "index.html"), []byte("own"), 0o644); err != nil {
		t.Fatal(err)
	}
	work := &agentv1.BuildWork{}
	h := r.newHost(t.Context(), buildTask(work), work, w, source.Commit{}, limits{}, &sink{})
	if err := h.SaveCache(t.Context(), "before", "page"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.tree()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, w.tree()); err != nil {
		t.Fatal(err)
	}
	_ = h.SaveCache(t.Context(), "after", "page")
	if _, err := os.Stat(filepath.Join(r.cache.Path("app_1"), "trees", "after")); err == nil {
		t.Error("a folder outside was stored in the cache")
	}
	if hit, _ := h.RestoreCache(t.Context(), "before", "page"); hit {
		t.Error("the cache was unpacked outside")
	}
	if b, err := os.ReadFile(filepath.Join(secret, "page", "index.html")); string(b) != "root's" {
		t.Errorf("the file outside is now %q, %v", b, err)
	}
}
