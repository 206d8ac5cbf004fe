package client_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
)

func TestContexts_SurviveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "contexts.toml")
	c, err := client.OpenContexts(path)
	if err != nil {
		t.Fatal(err)
	}
	want := client.Context{
		URL: "https://h:8443", Token: "gss_x", Email: "a@b.c", Tenant: "T \"q\"", Roots: "-----BEGIN\nabc\n-----END\n",
		Cluster: "clu_1", Asked: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), Servers: []client.Server{{Name: "ctl1", Address: "h:8443"}, {Address: "[::1]:8443"}},
	}
	if err := c.Put("prod.example.com", want); err != nil {
		t.Fatal(err)
	}
	if err := c.Use("prod.example.com"); err != nil {
		t.Fatal(err)
	}
	again, err := client.OpenContexts(path)
	if err != nil {
		t.Fatal(err)
	}
	if name, got, err := again.Get(""); err != nil || name != "prod.example.com" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %s %+v, %v", name, got, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v; want the file alone", left, err)
	}
}

func TestOpenContexts_RefusesAFileThatOthersMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.toml")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := client.OpenContexts(path); fault.KindOf(err) != fault.KindDenied {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
}

func TestContexts_RemoveTheCurrentOneLeavesNone(t *testing.T) {
	c, err := client.OpenContexts(filepath.Join(t.TempDir(), "contexts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	c.Current = "a"
	if err := c.Put("a", client.Context{URL: "https://h"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(""); fault.KindOf(err) != fault.KindUnauthenticated {
		t.Errorf("got %v", err)
	}
	if err := c.Put("../evil", client.Context{}); fault.KindOf(err) != fault.KindInvalid {
		t.Errorf("a path as a name: got %v", err)
	}
}

func TestCheckURL_TakesOnlyAnHTTPSHost(t *testing.T) {
	for in, want := range map[string]string{
		"https://h:8443": "https://h:8443", "https://h/": "https://h", "h:8443": "https://h:8443", "https://[::1]:8443": "https://[::1]:8443",
	} {
		if got, err := client.CheckURL(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("CheckURL(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "http://h", "https://u:p@h", "https://h/path", "https://h?q", "ftp://h", "https://"} {
		if got, err := client.CheckURL(in); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("CheckURL(%q) = %q, %v", in, got, err)
		}
	}
}
