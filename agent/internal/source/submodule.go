package source

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// submodules fetches what .gitmodules names, by the same rules, and removes the .git files it leaves.
func (s *session) submodules(ctx context.Context) error {
	root, err := os.OpenRoot(s.r.Into)
	if err != nil {
		return fmt.Errorf("fetch submodules: %w", err)
	}
	defer root.Close()
	b, err := root.ReadFile(".gitmodules")
	if err != nil {
		return nil // without the file there are no submodules
	}
	if err := s.checkSubmodules(ctx, string(b)); err != nil {
		return err
	}
	if _, err := s.remote(ctx, "-c", "remote.origin.url="+s.addr.URL,
		"submodule", "update", "--init", "--recursive", "--depth=1", "--quiet"); err != nil {
		return err
	}
	return removeGitFiles(ctx, root)
}

// checkSubmodules judges the addresses in .gitmodules. Those of submodules in submodules are judged only by git, which
// allows the one protocol.
func (s *session) checkSubmodules(ctx context.Context, modules string) error {
	for line := range strings.Lines(modules) {
		key, value, ok := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if !ok || strings.TrimSpace(key) != "url" || strings.HasPrefix(value, "./") || strings.HasPrefix(value, "../") {
			continue
		}
		addr, err := ParseAddress(value, s.g.o.Policy)
		if err != nil {
			return fault.Denied("the submodule address %q may not be used", value).WithCause(err)
		}
		if addr.Protocol != s.addr.Protocol {
			return fault.Denied("the submodule address %q is of another kind than the app's repository", value).
				WithFix("use %s addresses, or relative ones", s.addr.Protocol)
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = addr.checkHost(ctx, s.g.o.Policy)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
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
