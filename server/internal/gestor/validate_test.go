package gestor_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// hostile are values that mean something to a shell, to nginx, to systemd, to git or to a terminal. No check of a
// name, a domain or a path may let one through.
var hostile = []string{
	"$(id)", "`id`", "a;b", "a&&b", "a|b", "a>b", "a<b", "a'b", `a"b`, "a\\b", "a\nb", "a\rb", "a\x00b", "a\x1b[31mb",
	"a{b", "a}b", "a b", "a\tb", "%n", "%i", "$host", "${x}", "..", "../etc", "a/../b", "-rf", "--upload-pack=id", "a#b",
	"a\u2028b", "a\u0085b", "\xff\xfe", "a*b", "a?b", "~root\x7f", "include /etc/passwd", "server_name _; return 200",
	"x\n[Service]\nExecStart=/bin/sh",
}

// wantInvalid fails unless err refuses exactly that field and says so to people in one line.
func wantInvalid(t *testing.T, err error, field string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.KindInvalid {
		t.Fatalf("got %v, want a fault of kind invalid", err)
	}
	if f.Field != field {
		t.Errorf("field %q, want %q (%v)", f.Field, field, err)
	}
	if f.Message == "" || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 500 {
		t.Errorf("no message for people: %q", err.Error())
	}
}

// checkTable runs one check over values that must pass and values that must not.
func checkTable(t *testing.T, check func(field, value string) error, good, bad []string) {
	t.Helper()
	for _, v := range good {
		if err := check("f", v); err != nil {
			t.Errorf("%q is refused: %v", v, err)
		}
	}
	for _, v := range bad {
		err := check("f", v)
		if err == nil {
			t.Errorf("%q passes", v)
			continue
		}
		wantInvalid(t, err, "f")
	}
}

func TestCheckSlug_TakesNamesThatAreSafeAsFolderUserAndUnit(t *testing.T) {
	checkTable(t, gestor.CheckSlug,
		[]string{"a", "shop", "shop-2", "a1", "x--y", "abcdefghijklmnopqrstuvwxyz01"},
		append([]string{
			"", "A", "Shop", "1shop", "-shop", "shop-", "sh_op", "shöp", "shop.", "abcdefghijklmnopqrstuvwxyz012",
			"current", "releases", "shared", "root", "gestor", "www-data", "nobody",
		}, hostile...))
}

func TestCheckNodeName_TakesDNSLabels(t *testing.T) {
	checkTable(t, gestor.CheckNodeName,
		[]string{"web-1", "w", strings.Repeat("a", 63)},
		append([]string{"", "Web", "web.", "web-", strings.Repeat("a", 64)}, hostile...))
}

func TestCheckDomain_TakesHostNamesAlone(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 characters
	checkTable(t, gestor.CheckDomain,
		[]string{"example.com", "a.b.c.example", "localhost", "xn--caf-dma.example", "*.example.com", "1.example.com", long},
		append([]string{
			"", ".", "example.com.", ".example.com", "Example.com", "a..b", "-a.com", "a-.com", "example.com:80", "http://example.com",
			"example.com/x", "*", "*.com", "*.*.example.com", "a.*.com", "127.0.0.1", "::1", "[::1]", "1.2.3.4", "café.example", "a_b.com", "_",
			"example.123", long + "a", strings.Repeat("a", 64) + ".com",
		}, hostile...))
}

func TestCheckPort_RefusesWhatIsNone(t *testing.T) {
	for _, good := range []int{0, 1, 8080, 65535} {
		if err := gestor.CheckPort("f", good); err != nil {
			t.Errorf("%d is refused: %v", good, err)
		}
	}
	for _, bad := range []int{-1, 65536, 1 << 30} {
		wantInvalid(t, gestor.CheckPort("f", bad), "f")
	}
}

func TestCheckLabels_NamesTheLabelThatIsWrong(t *testing.T) {
	if err := gestor.CheckLabels("labels", map[string]string{"zone": "eu-1", "example.com/role": "", "a": "x_y"}); err != nil {
		t.Fatal(err)
	}
	wantInvalid(t, gestor.CheckLabels("labels", map[string]string{"zone": "a b"}), "labels[zone]")
	wantInvalid(t, gestor.CheckLabels("labels", map[string]string{"": "x"}), "labels[]")
}

func FuzzCheckSlug(f *testing.F) {
	for _, v := range append(hostile, "shop", "a") {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if gestor.CheckSlug("f", v) != nil {
			return
		}
		if v == "" || len(v) > 28 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || v[0] == '-' || v[len(v)-1] == '-' {
			t.Fatalf("%q passes", v)
		}
	})
}

func FuzzCheckDomain(f *testing.F) {
	for _, v := range append(hostile, "*.example.com", "xn--a.b") {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if gestor.CheckDomain("f", v) != nil {
			return
		}
		if len(v) > 255 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-.*") != "" || strings.LastIndex(v, "*") > 0 || strings.Contains(v, "..") {
			t.Fatalf("%q passes", v)
		}
	})
}
