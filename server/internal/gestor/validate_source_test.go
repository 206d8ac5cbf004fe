package gestor_test

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestCheckRepository_TakesTheFormsOfTheContract(t *testing.T) {
	checkTable(t, gestor.CheckRepository, []string{
		"https://github.com/acme/shop", "https://github.com/acme/shop.git", "https://git.example:8443/a/b/c.git", "https://host/~user/x%20y.git",
		"ssh://git@github.com/acme/shop.git", "ssh://git@host:2222/srv/git/shop.git", "ssh://git@[2001:db8::1]/x.git", "HTTPS://Host/x",
		"git@github.com:acme/shop.git", "deploy-1@10.0.0.7:/srv/git/shop.git", "git@host:~/shop.git", "/srv/git/shop.git", "/srv/my repos/shop",
	}, []string{
		"", "-", "--upload-pack=touch /tmp/x;", "-oProxyCommand=id", "shop", "./shop", "../shop", "~/shop", `C:\shop`, "host:path",
		"http://github.com/acme/shop", "git://github.com/acme/shop", "file:///srv/git", "ext::sh -c id", "ext::sh", "EXT::sh", "fd::17", "ftp://host/x", "rsync://h/x",
		"ssh::x", "https:github.com", "svn+ssh://git@host/x", "javascript:alert(1)",
		"https://user@host/x", "https://user:secret@host/x", "ssh://git:secret@host/x", "ssh://host/x", "ssh://-oProxyCommand=id@host/x", "ssh://git@-oProxyCommand=id/x",
		"git@-oProxyCommand=id:x", "-git@host:x", "git@host:-x", "git@host:", "git@:x", "@host:x", "a@b@host:x", "git@host:--upload-pack=id", "git@ho st:x",
		"https://", "https://host", "https://host/", "https:///x", "https://host:/x", "https://host:0/x", "https://host:99999/x", "https://host:-1/x",
		"https://host/x?y=z", "https://host/x?", "https://host/x#y", "https://host/../x", "https://host/a/%2e%2e/b", "https://host/a%00b", "https://host/a%0ab", "https://host/%zz",
		"https://host/$(id)", "https://host/`id`", "https://host/a;b", "https://host/a b", "https://host/a'b", "https://ho'st/x", "https://host\\@evil/x", "https://host/a\nb",
		"git@host:a;id", "git@host:$(id)", "git@host:a b", "git@host:../x", "git@host:a/../../x", "ssh://git@host/../x", "ssh://git@fe80::1%25eth0/x",
		"/", "/srv/../etc", "/srv/", "//srv", "/srv//git", "/srv/./git", "/srv\n", "/srv\x00", "/srv/$(id)", "/srv/`id`", "/srv/a;b", "/srv\\x", "/srv/\xff",
		"https://host/" + strings.Repeat("a", 2000),
	})
}

func TestCheckRepository_KeepsPasswordsOutOfItsMessages(t *testing.T) {
	for _, v := range []string{"https://user:hunter22@host/x", "ssh://git:hunter22@host/x", "https://user:hunter22@ho st/x", "https://u:hunter22@[::1/x"} {
		if err := gestor.CheckRepository("f", v); err == nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%q: %v", v, err)
		}
	}
}

var (
	goodRefs = []string{"main", "release/1.2", "v1.0.0", "a-b_c", "0123456789abcdef0123456789abcdef01234567", "feature/$(id)", "a;b", "a'b", "é", "x@y", "a{b", "#1"}
	badRefs  = []string{
		"-x", "--upload-pack=id", "@", "a@{1}", "a..b", "a b", "a~1", "a^", "a:b", "a?b", "a*b", "a[b", "a\\b", "/a", "a/", "a//b", ".a", "a/.b",
		"a.lock", "a.lock/b", "a.", "a\nb", "a\x00b", "a\x7fb", "\xff", strings.Repeat("a", 251),
	}
)

func TestCheckRef_FollowsCheckRefFormat(t *testing.T) {
	checkTable(t, gestor.CheckRef, append([]string{""}, goodRefs...), badRefs)
}

// Git itself is the judge: whatever passes here must be a name to it.
func TestCheckRef_AgreesWithGit(t *testing.T) {
	for _, ref := range goodRefs {
		if err := exec.CommandContext(t.Context(), "git", "check-ref-format", "refs/heads/"+ref).Run(); err != nil {
			t.Errorf("git refuses %q: %v", ref, err)
		}
	}
}

func TestCheckKnownHosts_ChecksTheShapeOfEachLine(t *testing.T) {
	key := base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + strings.Repeat("k", 32)))
	good := "github.com,140.82.121.3 ssh-ed25519 " + key
	checkTable(t, gestor.CheckKnownHosts,
		[]string{"", good, "# a comment\n\n" + good + " me@here\n", "|1|abc=|def= ssh-ed25519 " + key, "@cert-authority *.example.com ssh-ed25519 " + key},
		[]string{
			"github.com", "github.com ssh-ed25519", "github.com ssh-ed25519 !!!!", "github.com ssh-rsa " + key, "github.com ssh-ed25519 AAAA", "@cert-authority",
			good + "\nnonsense", good + "\x00", good + "\r", "-o ProxyCommand=id " + key, strings.Repeat("#", 20001), "h t //////8=",
		})
}

func FuzzCheckRepository(f *testing.F) {
	for _, v := range append(hostile, "https://host/x", "git@host:x", "/srv/x", "ssh://git@h/x", "ext::x") {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if gestor.CheckRepository("f", v) != nil {
			return
		}
		lower := strings.ToLower(v)
		local := strings.HasPrefix(v, "/")
		remote := strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "ssh://") || strings.Contains(v, "@")
		if strings.HasPrefix(v, "-") || strings.ContainsAny(v, "\x00\n\r`$;'\"\\") || (!local && !remote) || (!local && strings.Contains(v, " ")) {
			t.Fatalf("%q passes", v)
		}
	})
}

func FuzzCheckRef(f *testing.F) {
	for _, v := range append(goodRefs, badRefs...) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if gestor.CheckRef("f", v) == nil && (strings.HasPrefix(v, "-") || strings.Contains(v, "..") || strings.ContainsAny(v, "\x00\n :~^")) {
			t.Fatalf("%q passes", v)
		}
	})
}
