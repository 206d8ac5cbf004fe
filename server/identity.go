package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/config"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// Where the roots' keys live, as sealed values.
const (
	serverRootPlace = "cluster/server_root"
	agentRootPlace  = "cluster/agent_root"
)

// Files in the data directory that people and scripts read.
const (
	setupSecretFile = "setup-secret"    // the one-time secret; there only while the installation is unclaimed
	pinFile         = "server-root.pin" // SHA-256 of the servers' root key, hex
)

// identity is who this installation and this server are.
type identity struct {
	server     string
	cluster    gestor.Cluster
	serverRoot *pki.Root
	agentRoot  *pki.Root
}

func (id identity) pin() string { return hex.EncodeToString(id.serverRoot.Pin()) }

// openIdentity reads the installation's identity out of the state; on the very first start it makes it.
func openIdentity(ctx context.Context, e *engine.Engine, ring *secret.Ring, c config.Config, server string) (identity, error) {
	dir, view := c.DataDir, e.View(gestor.SystemScope())
	cluster, err := view.Cluster(ctx)
	if errors.Is(err, fault.KindNotFound) {
		if err := initCluster(ctx, e, ring, c); err != nil {
			return identity{}, fmt.Errorf("make the installation's identity: %w", err)
		}
		cluster, err = view.Cluster(ctx)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read the installation's identity: %w", err)
	}
	id := identity{server: server, cluster: cluster}
	if id.serverRoot, err = openRoot(ring, cluster.ServerRoot, cluster.ServerRootKey, serverRootPlace); err != nil {
		return identity{}, fmt.Errorf("open the servers' root: %w", err)
	}
	if id.agentRoot, err = openRoot(ring, cluster.AgentRoot, cluster.AgentRootKey, agentRootPlace); err != nil {
		return identity{}, fmt.Errorf("open the agents' root: %w", err)
	}
	if cluster.Claimed {
		err = forgetSetupSecret(dir)
	}
	return id, errors.Join(err, writeFile(filepath.Join(dir, pinFile), id.pin()+"\n"))
}

func openRoot(ring *secret.Ring, certificate, sealed []byte, place string) (*pki.Root, error) {
	key, err := ring.Open(sealed, place)
	if err != nil {
		return nil, err
	}
	return pki.LoadRoot(certificate, key)
}

// initCluster makes the roots and the setup secret. The secret's file is written first: were the order the other way
// round, a crash in between would leave an installation nobody can claim.
func initCluster(ctx context.Context, e *engine.Engine, ring *secret.Ring, c config.Config) error {
	now := time.Now()
	cluster := gestor.Cluster{ID: gestor.NewID[gestor.ClusterID]("clu"), FirstUID: c.FirstUID}
	var err error
	if cluster.ServerRoot, cluster.ServerRootKey, err = makeRoot(ring, cluster.ID, "server", serverRootPlace, now); err != nil {
		return err
	}
	if cluster.AgentRoot, cluster.AgentRootKey, err = makeRoot(ring, cluster.ID, "agent", agentRootPlace, now); err != nil {
		return err
	}
	setup := "gsu_" + strings.ToLower(rand.Text())
	if err := writeFile(filepath.Join(c.DataDir, setupSecretFile), setup+"\n"); err != nil {
		return err
	}
	cluster.SetupHash = pki.HashSecret(setup)
	receipt, err := e.Propose(ctx, command.Command{At: now, Actor: gestor.SystemActor("setup"), Op: command.InitCluster{Cluster: cluster}})
	if err != nil {
		return err
	}
	return e.Wait(ctx, receipt.Revision)
}

func makeRoot(ring *secret.Ring, cluster gestor.ClusterID, role, place string, now time.Time) (der, sealed []byte, err error) {
	root, err := pki.NewRoot(string(cluster), role, now)
	if err != nil {
		return nil, nil, err
	}
	key, err := root.MarshalKey()
	if err != nil {
		return nil, nil, err
	}
	return root.Certificate.Raw, ring.Seal(key, place), nil
}

func forgetSetupSecret(dir string) error {
	if err := os.Remove(filepath.Join(dir, setupSecretFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the used setup secret: %w", err)
	}
	return nil
}

// announce tells people how to claim the installation, at each start until somebody has.
func (s *Server) announce(ctx context.Context) error {
	cluster, err := s.engine.View(gestor.SystemScope()).Cluster(ctx)
	if err != nil || cluster.Claimed || s.options.Out == nil {
		return err
	}
	path := filepath.Join(s.options.Config.DataDir, setupSecretFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("nobody has claimed this installation and its setup secret %s is gone; remove the data directory %s to start over",
			path, s.options.Config.DataDir)
	}
	if err != nil {
		return fmt.Errorf("read the setup secret: %w", err)
	}
	setup, url := strings.TrimSpace(string(raw)), s.publicURLs()[0]
	_, err = fmt.Fprintf(s.options.Out, `
Nobody has claimed this Gestor installation yet.

  address  %s
  secret   %s
  pin      %s

Claim it from your computer, with your own address and a new password:

  gestor setup %s --secret %s --pin %s

`, url, setup, s.id.pin(), url, setup, s.id.pin())
	return err
}
