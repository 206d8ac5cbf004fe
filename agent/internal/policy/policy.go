// Package policy is the host's own law: a file of root's that says what the control servers may not do here, whatever
// they send. It only reads and answers; the executors and the task manager obey.
package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Policy is what the file says. The zero value forbids no kind, and allows neither local repositories nor private addresses.
type Policy struct {
	// ForbidKinds are kinds of tasks this host does not do: "build", "remove" ….
	ForbidKinds []string `toml:"forbid_kinds"`
	// AllowLocalRepositories are folders from which repositories on this host may be cloned.
	AllowLocalRepositories []string `toml:"allow_local_repositories"`
	// AllowPrivateAddresses lets repositories be fetched from private and loopback addresses.
	AllowPrivateAddresses bool `toml:"allow_private_addresses"`

	path string
}

// Load reads the policy file; none means the zero Policy. A file that others than root may write is refused, because then
// it would be no law.
func Load(path string) (Policy, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return Policy{path: path}, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("open policy: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := checkOwner(f); err != nil {
		return Policy{}, err
	}
	p := Policy{path: path}
	decoder := toml.NewDecoder(f).DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return Policy{}, Explain(path, err)
	}
	return p, p.check()
}

func checkOwner(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at policy: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 && int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fault.Denied("the policy %s may be written by others than root", f.Name()).
			WithFix("chown root:root %s && chmod 644 %s", f.Name(), f.Name())
	}
	return nil
}

func (p Policy) check() error {
	kinds := []string{"detect", "build", "prepare", "switch", "watch", "retire", "remove"}
	for _, kind := range p.ForbidKinds {
		if !slices.Contains(kinds, kind) {
			return fault.Invalid("forbid_kinds", "%s: there is no kind of task %q; there are %s", p.path, kind, strings.Join(kinds, ", "))
		}
	}
	for _, dir := range p.AllowLocalRepositories {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
			return fault.Invalid("allow_local_repositories", "%s: %q must be an absolute path below /", p.path, dir)
		}
	}
	return nil
}

// Forbidden returns why tasks of a kind are not done on this host, nil if they are.
func (p Policy) Forbidden(kind string) error {
	if !slices.Contains(p.ForbidKinds, kind) {
		return nil
	}
	return fault.Denied("the policy of this host forbids %s tasks", kind).
		WithFix("run it on another node, or change forbid_kinds in %s on the host and restart the agent", p.path)
}

// Explain turns an error of the TOML decoder into one with file and line.
func Explain(path string, err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		line, _ := first.Position()
		return fault.Invalid(strings.Join(first.Key(), "."), "%s:%d: there is no such setting", path, line)
	}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := decode.Position()
		return fault.Invalid(strings.Join(decode.Key(), "."), "%s:%d:%d: %s", path, line, column, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	return fmt.Errorf("read %s: %w", path, err)
}
