package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const large = "a file that is too large for git"

// pointer is what git holds of a large file, and the name LFS knows it by.
func pointer(content string) (text, oid string) {
	sum := sha256.Sum256([]byte(content))
	oid = hex.EncodeToString(sum[:])
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content)), oid
}

// large makes a repository with a large file, which is not in LFS yet, and returns its address and the file's name there.
func (r *rig) large(t *testing.T, extra map[string]string) (repo, oid string) {
	t.Helper()
	text, oid := pointer(large)
	content := map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "big.bin": text}
	maps.Copy(content, extra)
	return r.bare(t, "large.git", content), oid
}

func TestFetch_TakesLargeFilesOfALocalRepositoryButOnlyWhenAsked(t *testing.T) {
	r := newRig(t, Options{})
	repo, oid := r.large(t, nil)
	put(t, filepath.Join(repo, "lfs/objects", oid[:2], oid[2:4], oid), large)

	_, into, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo}, nil)
	must(t, err)
	if got := files(t, into)["big.bin"]; !strings.Contains(got, oid) {
		t.Errorf("unasked there is %q, want the pointer", got)
	}
	for range 2 { // the second time, the mirror has it
		_, into, err = r.fetch(t.Context(), t, &agentv1.Source{Repository: repo, Lfs: true}, nil)
		must(t, err)
		if got := files(t, into)["big.bin"]; got != large {
			t.Errorf("there is %q", got)
		}
	}
}

// hosting serves the repositories of a folder over https, with large files.
type hosting struct {
	*httptest.Server
	ca        string
	downloads atomic.Int32
}

func newHosting(t *testing.T, repos string) *hosting {
	t.Helper()
	h := &hosting{ca: filepath.Join(os.TempDir(), fmt.Sprintf("gestor-lfs-ca-%d.pem", os.Getpid()))} //nolint:usetesting // git reads it as the app's user
	mux := http.NewServeMux()
	mux.Handle("/", &cgi.Handler{
		Path: filepath.Join(run(t, "/", "git", "--exec-path"), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + repos, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	})
	mux.HandleFunc("POST /large.git/info/lfs/objects/batch", h.batch)
	mux.HandleFunc("GET /objects/{oid}", func(w http.ResponseWriter, _ *http.Request) {
		h.downloads.Add(1)
		_, _ = w.Write([]byte(large))
	})
	h.Server = httptest.NewTLSServer(mux)
	t.Cleanup(h.Close)
	block := &pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}
	must(t, os.WriteFile(h.ca, pem.EncodeToMemory(block), 0o644))
	t.Cleanup(func() { _ = os.Remove(h.ca) })
	return h
}

// batch says where the objects are: all but those of the size 1.
func (h *hosting) batch(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Objects []struct{ Oid string } }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, known := pointer(large)
	var objects []map[string]any
	for _, o := range asked.Objects {
		object := map[string]any{"oid": o.Oid, "size": len(large), "authenticated": true}
		if o.Oid == known {
			object["actions"] = map[string]any{"download": map[string]any{"href": h.URL + "/objects/" + o.Oid}}
		} else {
			object["error"] = map[string]any{"code": 404, "message": "object does not exist"}
		}
		objects = append(objects, object)
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
}

// newHostedRig may fetch from a hosting of its own repositories.
func newHostedRig(t *testing.T) (*rig, *hosting) {
	t.Helper()
	r := newRig(t, Options{})
	h := newHosting(t, filepath.Join(r.dir, "repos"))
	u, err := url.Parse(h.URL)
	must(t, err)
	r.git.o.CAFile, r.git.o.Policy.PrivateHosts = h.ca, []string{u.Hostname()}
	return r, h
}

func TestFetch_TakesLargeFilesOverHTTPSFromTheRepositorysOwnServer(t *testing.T) {
	r, h := newHostedRig(t)
	r.large(t, map[string]string{".lfsconfig": "[lfs]\nurl = https://127.0.0.1:1/elsewhere\n"})
	_, into, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: h.URL + "/large.git", Lfs: true}, nil)
	must(t, err)
	if got := files(t, into)["big.bin"]; got != large || h.downloads.Load() != 1 {
		t.Errorf("there is %q after %d downloads", got, h.downloads.Load())
	}
}

func TestFetch_SaysThatALargeFileIsNotOnTheServer(t *testing.T) {
	r, h := newHostedRig(t)
	text, oid := pointer("never pushed")
	r.large(t, map[string]string{"lost.bin": text, ".lfsconfig": "[lfs]\nskipdownloaderrors = true\n"})
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: h.URL + "/large.git", Lfs: true}, nil)
	if fault.KindOf(err) != fault.KindUnavailable || !strings.Contains(fmt.Sprint(err), "lost.bin") {
		t.Errorf("got %v, want that %s is missing", err, oid)
	}
}

func TestFetch_SaysWhatToInstallWhenTheHostHasNoLFS(t *testing.T) {
	r := newRig(t, Options{})
	repo, _ := r.large(t, nil)
	r.git.path = t.TempDir()
	put(t, filepath.Join(r.git.path, "git"), "")
	_, _, err := r.fetch(t.Context(), t, &agentv1.Source{Repository: repo, Lfs: true}, nil)
	if fault.KindOf(err) != fault.KindUnavailable || !strings.Contains(fmt.Sprint(err), "install the package git-lfs") {
		t.Errorf("got %v", err)
	}
}
