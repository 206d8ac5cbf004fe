package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// records keeps what shall run: <dir>/<unit name>/unit.json.
type records struct{ dir string }

// record is a unit that shall run and how.
type record struct {
	Unit   Unit     `json:"unit"`
	Kind   Kind     `json:"kind"`
	Hidden []string `json:"hidden"`
	Host   string   `json:"host"` // Options.Dir, which names the cgroups
}

const defaultGrace = 10 * time.Second

func (u Unit) validate() error {
	switch {
	case !validName.MatchString(u.Name):
		return fault.Invalid("name", "unit name %q holds other than letters, digits, '.', '_', '@' and '-'", u.Name)
	case (len(u.Argv) == 0) == (u.Command == ""):
		return fault.Invalid("argv", "unit %s needs either a program or a command", u.Name)
	case u.UID == 0 || u.GID == 0:
		return fault.Invalid("uid", "unit %s would run as root", u.Name)
	case !filepath.IsAbs(u.Dir) || !filepath.IsAbs(u.LogFile):
		return fault.Invalid("dir", "unit %s needs absolute paths for its directory and log", u.Name)
	default:
		return nil
	}
}

// environment lists Env by name, with a PATH.
func (u Unit) environment() []string {
	env := make([]string, 0, len(u.Env)+1)
	for k, v := range u.Env {
		env = append(env, k+"="+v)
	}
	if _, ok := u.Env["PATH"]; !ok {
		env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	sort.Strings(env)
	return env
}

func (u Unit) argv() []string {
	if u.Command != "" {
		return []string{"/bin/sh", "-c", u.Command}
	}
	return u.Argv
}

func (r records) path(name string) string { return filepath.Join(r.dir, name) }

func (r records) put(rec record) error {
	if err := os.MkdirAll(r.path(rec.Unit.Name), 0o700); err != nil {
		return fmt.Errorf("keep unit: %w", err)
	}
	return writeJSON(filepath.Join(r.path(rec.Unit.Name), "unit.json"), rec)
}

// get returns false if the unit shall not run.
func (r records) get(name string) (record, bool, error) {
	var rec record
	err := readJSON(filepath.Join(r.path(name), "unit.json"), &rec)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, false, nil
	}
	return rec, err == nil, err
}

// unwant keeps the unit from being started again.
func (r records) unwant(name string) error {
	err := os.Remove(filepath.Join(r.path(name), "unit.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget unit: %w", err)
	}
	return nil
}

func (r records) forget(name string) error {
	if err := os.RemoveAll(r.path(name)); err != nil {
		return fmt.Errorf("forget unit: %w", err)
	}
	return nil
}

func (r records) names() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// find tells whether a unit that is known here shall run.
func (r records) find(name string) (wanted bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	if _, err := os.Stat(r.path(name)); errors.Is(err, fs.ErrNotExist) {
		return false, fault.NotFound("unit %s was never started here", name)
	}
	if _, wanted, err = r.get(name); err != nil {
		return false, fmt.Errorf("status of unit %s: %w", name, err)
	}
	return wanted, nil
}

// list asks for the status of all units.
func (r records) list(ctx context.Context, status func(context.Context, string) (Status, error)) ([]Status, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, name := range names {
		st, err := status(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}

func checkName(name string) error {
	if !validName.MatchString(name) {
		return fault.Invalid("name", "unit name %q is not valid", name)
	}
	return nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces path as a whole or not at all.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}
