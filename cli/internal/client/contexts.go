package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Context is an installation, and who one is there.
type Context struct {
	URL     string    `toml:"url"`                       // of the server one signed in to
	Token   string    `toml:"token,omitempty"`           // bearer; empty when signed out
	Email   string    `toml:"email,omitempty"`           // for people
	Tenant  string    `toml:"tenant,omitempty"`          // for people
	Roots   string    `toml:"roots,omitempty,multiline"` // PEM; the system's roots if empty
	Cluster string    `toml:"cluster,omitempty"`         // its id, by which certificates under Roots are recognised
	Asked   time.Time `toml:"asked,omitempty"`           // when Servers was last asked for
	Servers []Server  `toml:"servers,omitempty"`         // all its servers, the one that answered last first
}

// Server is a server of an installation.
type Server struct {
	Name    string `toml:"name,omitempty"`
	Address string `toml:"address"` // host:port
}

// Contexts is the contexts file.
type Contexts struct {
	Current  string             `toml:"current,omitempty"`
	Contexts map[string]Context `toml:"contexts,omitempty"`

	path string
}

// OpenContexts reads the file at path; a file that does not exist is an empty one. A file that others may read is
// refused, because it holds tokens.
func OpenContexts(path string) (*Contexts, error) {
	c := &Contexts{path: path, Contexts: map[string]Context{}}
	raw, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := toml.Unmarshal(raw, c); err != nil {
		return nil, fault.Invalid("", "%s is not valid TOML: %v", path, err).WithFix("repair it, or remove it and sign in again")
	}
	if c.Contexts == nil {
		c.Contexts = map[string]Context{}
	}
	return c, nil
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Denied("%s holds tokens and others may read it (mode %04o)", path, info.Mode().Perm()).
			WithFix("run: chmod 600 %s", path)
	}
	return os.ReadFile(path)
}

// Get returns the context with that name, the current one if name is empty.
func (c *Contexts) Get(name string) (string, Context, error) {
	if name == "" {
		name = c.Current
	}
	if name == "" {
		return "", Context{}, fault.Unauthenticated("no server is known").
			WithFix("run: gestor login https://your-server, or gestor setup for a fresh one")
	}
	ctx, ok := c.Contexts[name]
	if !ok {
		return "", Context{}, fault.NotFound("there is no context %q", name).WithFix("see: gestor context list")
	}
	return name, ctx, nil
}

// Names returns the contexts' names in order.
func (c *Contexts) Names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

// Put stores a context and writes the file.
func (c *Contexts) Put(name string, ctx Context) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$`).MatchString(name) {
		return fault.Invalid("name", "%q cannot name a context: letters, digits, dots, hyphens", name)
	}
	c.Contexts[name] = ctx
	return c.save()
}

// Use makes a context the current one and writes the file.
func (c *Contexts) Use(name string) error {
	if _, _, err := c.Get(name); err != nil {
		return err
	}
	c.Current = name
	return c.save()
}

// Remove forgets a context and writes the file.
func (c *Contexts) Remove(name string) error {
	if _, _, err := c.Get(name); err != nil {
		return err
	}
	delete(c.Contexts, name)
	if c.Current == name {
		c.Current = ""
	}
	return c.save()
}

// save replaces the file in one step: a crash leaves the old one or the new one.
func (c *Contexts) save() error {
	raw, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	dir := filepath.Dir(c.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".contexts-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err := writeSynced(tmp, raw); err != nil {
		return fmt.Errorf("write %s: %w", c.path, err)
	}
	return os.Rename(tmp.Name(), c.path)
}

func writeSynced(f *os.File, raw []byte) error {
	_, err := f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
