package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/saas-gestor/gestor/proto/fault"
)

// UserName is the system user of an app.
func UserName(slug string) string { return "app-" + slug }

// EnsureUser makes the app's system user and group, both with the app's uid, or finds them as they should be.
func EnsureUser(ctx context.Context, deployRoot string, app App) error {
	if !validSlug.MatchString(app.Slug) || app.UID < 1000 {
		return fault.Invalid("app", "app %q cannot have a user with uid %d", app.Slug, app.UID)
	}
	unlock, err := lockUsers()
	if err != nil {
		return err
	}
	defer unlock()
	name, id := UserName(app.Slug), strconv.FormatUint(uint64(app.UID), 10)
	if err := ensureGroup(ctx, name, id); err != nil {
		return err
	}
	have, err := user.Lookup(name)
	if err == nil {
		if have.Uid != id || have.Gid != id {
			return fault.Conflict("user %s is on this host with uid %s, it must be %s", name, have.Uid, id).
				WithFix("remove that user")
		}
		return nil
	}
	if other, err := user.LookupId(id); err == nil {
		return fault.Conflict("uid %s for app %s is taken by user %s on this host", id, app.Slug, other.Username).
			WithFix("give that user another uid")
	}
	return command(ctx, "useradd", "--uid", id, "--gid", id, "--no-create-home", "--no-log-init",
		"--home-dir", filepath.Join(deployRoot, app.Slug), "--shell", "/usr/sbin/nologin", "--comment", "Gestor app "+app.Slug, name)
}

// usersLock keeps two agents of one host, which a laptop may have, from making the same user at the same moment.
const usersLock = "/run/gestor-users.lock"

// lockUsers waits for the lock, which is held for milliseconds; the function it returns gives it back.
func lockUsers() (func(), error) {
	f, err := os.OpenFile(usersLock, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the host's users: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the host's users: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func ensureGroup(ctx context.Context, name, id string) error {
	if have, err := user.LookupGroup(name); err == nil {
		if have.Gid != id {
			return fault.Conflict("group %s is on this host with gid %s, it must be %s", name, have.Gid, id).
				WithFix("remove that group")
		}
		return nil
	}
	if other, err := user.LookupGroupId(id); err == nil {
		return fault.Conflict("gid %s for %s is taken by group %s on this host", id, name, other.Name).
			WithFix("give that group another gid")
	}
	return command(ctx, "groupadd", "--gid", id, name)
}

// RemoveUser removes the app's system user and group. It is not an error if they are gone.
func RemoveUser(ctx context.Context, slug string) error {
	if !validSlug.MatchString(slug) {
		return fault.Invalid("app", "app name %q is not valid", slug)
	}
	name := UserName(slug)
	var err error
	if _, lookup := user.Lookup(name); lookup == nil {
		err = command(ctx, "userdel", name)
	}
	if _, lookup := user.LookupGroup(name); lookup == nil { // userdel takes it along, as a rule
		err = errors.Join(err, command(ctx, "groupdel", name))
	}
	return err
}

func command(ctx context.Context, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // argv of checked values, no shell
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fault.Unavailable("this host has no %s, which making users takes", argv[0]).
			WithFix("install the package passwd (shadow-utils) on the node").WithCause(err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}
