package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// deepest is how many levels of submodules in submodules are followed.
const deepest = 8

// submodule is an entry of .gitmodules, its address checked.
type submodule struct {
	name string
	path string
	addr Address
}

// submodules fetches what .gitmodules names, by the same rules, and removes the .git files it leaves.
func (s *session) submodules(ctx context.Context) error {
	if err := s.forgetSubmodules(); err != nil {
		return err
	}
	if err := s.submodulesIn(ctx, ".", s.addr, 1); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.r.Into)
	if err != nil {
		return fmt.Errorf("fetch submodules: %w", err)
	}
	defer root.Close()
	return removeGitFiles(ctx, root)
}

// forgetSubmodules removes what an earlier fetch left in the mirror: git would go on using the addresses of then.
func (s *session) forgetSubmodules() error {
	root, err := os.OpenRoot(s.mirror.dir)
	if err != nil {
		return fmt.Errorf("fetch submodules: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll("modules"); err != nil {
		return fmt.Errorf("fetch submodules: %w", err)
	}
	return nil
}

// submodulesIn fetches those of the repository at dir in the tree, level by level, so that every address is judged by
// us before git gets it.
func (s *session) submodulesIn(ctx context.Context, dir string, base Address, level int) error {
	found, err := s.listed(ctx, dir, base)
	if err != nil || len(found) == 0 {
		return err
	}
	if level > deepest {
		return fault.Invalid("submodules", "submodules in submodules go deeper than %d levels", deepest)
	}
	if err := s.update(ctx, dir, base, found); err != nil {
		return err
	}
	for _, sub := range found {
		if err := s.submodulesIn(ctx, path.Join(dir, sub.path), sub.addr, level+1); err != nil {
			return err
		}
	}
	return nil
}

// update has git fetch them. git is told the addresses that were judged, whatever it makes of .gitmodules.
func (s *session) update(ctx context.Context, dir string, base Address, found []submodule) error {
	settings := [][2]string{{"remote.origin.url", base.URL}}
	c := call{
		args:    []string{"submodule", "update", "--init", "--depth=1", "--quiet"},
		network: s.addr.Protocol != "file", dir: filepath.Join(s.r.Into, dir), env: s.envIn(dir),
	}
	for _, sub := range found {
		settings = append(settings, [2]string{"submodule." + sub.name + ".url", sub.addr.URL})
		if sub.addr.Protocol == "file" {
			c.visible = append(c.visible, sub.addr.URL)
		}
	}
	for i, setting := range settings {
		c.env = append(c.env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, setting[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, setting[1]))
	}
	c.env = append(c.env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(settings)))
	_, err := s.git(ctx, c)
	return err
}

// envIn is the environment for the repository at dir in the tree: a submodule's own .git says where its parts are.
func (s *session) envIn(dir string) []string {
	if dir == "." {
		return s.env()
	}
	return slices.DeleteFunc(s.env(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}, name)
	})
}

// listed reads .gitmodules, by git itself, and checks the addresses.
func (s *session) listed(ctx context.Context, dir string, base Address) ([]submodule, error) {
	root, err := os.OpenRoot(s.r.Into)
	if err != nil {
		return nil, fmt.Errorf("fetch submodules: %w", err)
	}
	defer root.Close()
	name := path.Join(dir, ".gitmodules")
	if info, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there are none
	} else if err != nil || !info.Mode().IsRegular() {
		return nil, fault.Invalid("submodules", "%s is not a file", name)
	}
	out, err := s.local(ctx, "config", "--file", filepath.Join(s.r.Into, name), "--null", "--list")
	var damaged *damagedError
	if errors.As(err, &damaged) {
		return nil, fault.Invalid("submodules", "%s cannot be read: %v", name, damaged.err)
	}
	if err != nil {
		return nil, err
	}
	return s.judge(ctx, base, entries(out))
}

// entries are the submodules of a listed configuration; their addresses are as written.
func entries(list string) []submodule {
	var found []submodule
	for line := range strings.SplitSeq(list, "\x00") {
		key, value, _ := strings.Cut(line, "\n")
		name, ok := strings.CutPrefix(key, "submodule.")
		dot := strings.LastIndex(name, ".")
		if !ok || dot < 0 {
			continue
		}
		name, field := name[:dot], name[dot+1:]
		i := slices.IndexFunc(found, func(sub submodule) bool { return sub.name == name })
		if i < 0 {
			i, found = len(found), append(found, submodule{name: name})
		}
		switch field {
		case "url":
			found[i].addr.URL = value
		case "path":
			found[i].path = value
		}
	}
	return slices.DeleteFunc(found, func(sub submodule) bool { return sub.addr.URL == "" || !fs.ValidPath(sub.path) })
}

// judge replaces what is written by addresses that were checked.
func (s *session) judge(ctx context.Context, base Address, found []submodule) ([]submodule, error) {
	for i, sub := range found {
		written := sub.addr.URL
		addr, err := s.resolve(base, written)
		if err != nil {
			return nil, fault.Denied("the submodule address %q may not be used", written).WithCause(err).
				WithFix("use an address of the same kind as the app's repository's, or a relative one")
		}
		if addr.Protocol != s.addr.Protocol {
			return nil, fault.Denied("the submodule address %q is of another kind than the app's repository", written).
				WithFix("use %s addresses, or relative ones", s.addr.Protocol)
		}
		if err := s.checkHost(ctx, addr); err != nil {
			return nil, err
		}
		found[i].addr = addr
	}
	return found, nil
}

func (s *session) checkHost(ctx context.Context, a Address) error {
	if a.Host == s.addr.Host {
		return nil // checked with the app's own address
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return a.checkHost(ctx, s.g.o.Policy)
}

// resolve makes an address of what .gitmodules says, which may be relative to that of the repository it is in.
func (s *session) resolve(base Address, written string) (Address, error) {
	if !strings.HasPrefix(written, "./") && !strings.HasPrefix(written, "../") {
		return ParseAddress(written, s.g.o.Policy)
	}
	prefix, folder, err := splitAddress(base)
	if err != nil {
		return Address{}, err
	}
	joined := path.Join(strings.TrimPrefix(folder, "/"), written)
	if joined == "." || joined == ".." || strings.HasPrefix(joined, "../") {
		return Address{}, bad("leads out of its host")
	}
	if strings.HasPrefix(folder, "/") {
		joined = "/" + joined
	}
	return ParseAddress(prefix+joined, s.g.o.Policy)
}

// splitAddress parts the path, to which others may be relative, from what is before it.
func splitAddress(a Address) (prefix, folder string, err error) {
	if a.Protocol == "file" {
		return "", a.URL, nil
	}
	if m := scpForm.FindStringSubmatch(a.URL); m != nil {
		return strings.TrimSuffix(a.URL, m[3]), m[3], nil
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return "", "", fmt.Errorf("the address %q: %w", a.URL, err)
	}
	folder = u.EscapedPath()
	return strings.TrimSuffix(a.URL, folder), folder, nil
}

func removeGitFiles(ctx context.Context, root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if path.Base(name) == ".git" && !d.IsDir() {
			return root.Remove(name)
		}
		return nil
	})
}
