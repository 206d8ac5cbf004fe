package source_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/cli/internal/source"
)

func TestSame_SeesThroughTheWaysToWriteAnAddress(t *testing.T) {
	one := []string{
		"git@github.com:ana/blog.git", "github.com:ana/blog", "ssh://git@github.com/ana/blog.git", "ssh://git@GitHub.com:22/ana/blog",
		"https://github.com/ana/blog", "https://user:pw@github.com:443/ana/blog.git/", "http://github.com/ana/blog/", "git://github.com/ana/blog",
	}
	for _, a := range one {
		for _, b := range one {
			if !source.Same(a, b) {
				t.Errorf("%s and %s are the same", a, b)
			}
		}
	}
	for _, other := range []string{
		"git@github.com:ana/Blog", "git@gitlab.com:ana/blog", "ssh://git@github.com:2222/ana/blog", "https://github.com/ana/blog2", "", "/srv/blog", "blog",
	} {
		if source.Same(one[0], other) {
			t.Errorf("%s and %q are not the same", one[0], other)
		}
	}
	if !source.Same("/srv/git/blog.git", "file:///srv/git/blog") {
		t.Error("a path and its file address are the same")
	}
	if source.Same("", "") {
		t.Error("two unknown addresses are not the same")
	}
}

func TestStripCredentials_LeavesOnlyTheSSHUser(t *testing.T) {
	for in, want := range map[string]string{
		"https://ana:token@github.com/a/b": "https://github.com/a/b",
		"https://token@github.com/a/b":     "https://github.com/a/b",
		"ssh://git:pw@host/a/b":            "ssh://git@host/a/b",
		"git@host:a/b":                     "git@host:a/b",
		"/srv/a":                           "/srv/a",
	} {
		if got := source.StripCredentials(in); got != want {
			t.Errorf("StripCredentials(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSlug_FitsTheServersRule(t *testing.T) {
	for in, want := range map[string]string{
		"git@github.com:ana/My_Blog.git": "my-blog", "https://x/a/123-go": "go", "git@h:solo": "solo", "/srv/--": "app",
		"https://x/" + strings.Repeat("long-", 10): "long-long-long-long-long-lon",
	} {
		if got := source.Slug(in); got != want {
			t.Errorf("Slug(%q) = %q, want %q", in, got, want)
		}
	}
}
