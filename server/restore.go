package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/backup"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/config"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/rescue"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// RestoreOptions say what to restore, and where to.
type RestoreOptions struct {
	Config  Config
	Version string
	Out     io.Writer // what was done, for people

	From        string // a file, or s3://bucket/key
	Keyring     string // the key ring of the cluster that wrote the backup
	Endpoint    string // of S3; the settings' [backup] section where it is empty, like the two that follow
	Region      string
	Credentials string
}

// Restore makes the data of a cluster of one server out of a backup: the same installation, so that its people and
// agents find it again, on a new server. The data directory must be empty.
func Restore(ctx context.Context, o RestoreOptions) (err error) {
	if err := o.checkPlace(); err != nil {
		return err
	}
	dir := o.Config.DataDir
	lock, err := takeDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := checkEmpty(dir); err != nil {
		return err
	}
	ring, err := secret.OpenWithRetired(o.Keyring)
	if err != nil {
		return fmt.Errorf("%w; name the keyring of the installation's data directory with --keyring: a backup holds no key", err)
	}
	scratch, err := os.MkdirTemp(dir, ".restore-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	path, err := backup.Fetch(ctx, o.place(), scratch)
	if err != nil {
		return err
	}
	return o.restore(ctx, path, ring)
}

// checkEmpty refuses a directory with anything in it but what a start that failed leaves.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "lock" && name != "raft.new" && name != "lost+found" && !strings.HasPrefix(name, ".re") {
			return fmt.Errorf("%s is not empty: it holds %s; name another directory with --data-dir, or move that one away", dir, name)
		}
	}
	return nil
}

// checkPlace refuses to fetch a backup in the clear: a backup is believed, and whoever could change it on its way would be
// the admin of what is restored.
func (o RestoreOptions) checkPlace() error {
	if !strings.HasPrefix(o.From, "s3://") {
		return nil
	}
	if err := config.CheckEndpoint(o.place().Endpoint); err != nil {
		return fmt.Errorf("--s3-endpoint: %w", err)
	}
	return nil
}

func (o RestoreOptions) place() backup.Place {
	p := backup.Place{To: o.From, Endpoint: o.Endpoint, Region: o.Region, Credentials: o.Credentials}
	section := o.Config.Backup
	if p.Endpoint == "" {
		p.Endpoint = section.Endpoint
	}
	if p.Region == "" {
		p.Region = section.Region
	}
	if p.Credentials == "" {
		p.Credentials = section.Credentials
	}
	return p
}

func (o RestoreOptions) restore(ctx context.Context, path string, ring *secret.Ring) error {
	body, err := backup.Body(path)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	dir := o.Config.DataDir
	id := gestor.NewID[string]("srv")
	server := &Server{options: Options{Config: o.Config}}
	address, err := server.peerAddress()
	if err != nil {
		address = id // alone, nobody asks for it; the server tells its own once others may
	}
	first := gestor.Server{
		ID: gestor.ServerID(id), Name: serverName(o.Config), PeerAddress: address, Version: o.Version, Level: command.Level, CreatedAt: time.Now(),
	}
	done, err := rescue.Restore(ctx, dir, first, body, func(c gestor.Cluster) error {
		r := identityRecord{
			Cluster: string(c.ID), Server: id, Name: serverName(o.Config),
			ServerRoot: c.ServerRoot, ServerRootKey: c.ServerRootKey, AgentRoot: c.AgentRoot, AgentRootKey: c.AgentRootKey,
		}
		if _, err := r.open(ring); err != nil {
			return fmt.Errorf("the key ring %s is not that of the backup's installation: %w", o.Keyring, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore %s: %w", o.From, err)
	}
	return o.finish(done, id, ring)
}

// finish writes what the server needs beside the state. The identity comes last: without it nothing starts.
func (o RestoreOptions) finish(done rescue.Restored, id string, ring *secret.Ring) error {
	dir, c := o.Config.DataDir, done.Cluster
	if err := writeFile(filepath.Join(dir, keyringFile), string(ring.Encode())); err != nil {
		return fmt.Errorf("write the key ring: %w", err)
	}
	r := identityRecord{
		Cluster: string(c.ID), Server: id, Name: serverName(o.Config),
		ServerRoot: c.ServerRoot, ServerRootKey: c.ServerRootKey, AgentRoot: c.AgentRoot, AgentRootKey: c.AgentRootKey,
		Incarnation: newIncarnation(),
	}
	if err := r.write(dir); err != nil {
		return err
	}
	_, err := fmt.Fprintf(o.Out, `Restored %s into %s.

  cluster   %s
  server    %s (%s)
  revision  %d

Start gestor-server there. Agents and people find it under the addresses the old servers had; where this host has
others, point the old names at it. Never start a server of the old cluster again: remove their data directories.
Logs of tasks and artifacts are not part of a backup: deployed apps run on, going back needs a new build.
`, o.From, dir, c.ID, r.Name, id, done.Revision)
	return err
}
