package gestor_test

import (
	"path"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestCheckPath_TakesCleanRelativePaths(t *testing.T) {
	checkTable(t, gestor.CheckPath,
		[]string{"", ".", "public", "apps/web", "a.b/c_d-e+f", "relatórios/2026", "packages/@acme/ui", ".next", "..."},
		append([]string{
			"/", "/etc", "./a", "a/", "a//b", "a/./b", "a/-rf", ".git", "a/.git/hooks", ".GIT", strings.Repeat("a", 501), strings.Repeat("a/", 40) + "a",
		}, hostile...))
}

func TestCheckShared_RefusesPathsThatLieInEachOther(t *testing.T) {
	if err := gestor.CheckShared("shared", []string{"uploads", "storage/app", "storage/logs", "up"}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{{"a", ""}, {"a", "."}, {"a", "a"}, {"a", "a/b"}, {"a/b", "a"}, {"a", ".env"}, {"a", "../b"}, {"a", strings.Repeat("b", 301)}} {
		wantInvalid(t, gestor.CheckShared("shared", bad), "shared[1]")
	}
}

func TestCheckShared_RefusesWhatEachAppHasAndUnusualCharacters(t *testing.T) {
	for _, bad := range []string{
		"logs", "logs/a", "uploads/a", "uploads/a/b", ".env/a", ".gestor-new", "a+b", "a@b", "a=b", "a,b", "a~b", "relatórios", "a b", "a:b", "a%b",
	} {
		err := gestor.CheckShared("shared", []string{"data", bad})
		wantInvalid(t, err, "shared[1]")
	}
	if err := gestor.CheckShared("shared", []string{"log", "uploads", "a/logs", "a/uploads/b", "A_1-x.d"}); err != nil {
		t.Error(err)
	}
}

func TestCheckHealthPath_TakesWhatFitsInARequestLine(t *testing.T) {
	checkTable(t, gestor.CheckHealthPath,
		[]string{"", "/", "/health", "/api/v1/up?full=1&x=%20", "/a/~b/(c)"},
		[]string{
			"health", "//evil.example/", "http://x/", "/a b", "/a\tb", "/a\r\nHost: x", "/a;b", "/a{b", "/a}b", `/a"b`, "/a'b", "/a`id`", "/$(id)", "/a\\b", "/é", "/a\x00",
			"/a#b", "/a<b>", "/" + strings.Repeat("a", 1000),
		})
}

func FuzzCheckPath(f *testing.F) {
	for _, v := range append(hostile, "public", "a/b", "relatórios") {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if v == "" || gestor.CheckPath("f", v) != nil {
			return
		}
		joined := path.Join("/srv/app", v)
		if (joined != "/srv/app" && !strings.HasPrefix(joined, "/srv/app/")) || strings.ContainsAny(v, "\x00\n\r\\;{}\"'$% `#") {
			t.Fatalf("%q passes", v)
		}
	})
}
