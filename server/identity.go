package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/config"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// Where the roots' keys live, as sealed values.
const ()

// Files in the data directory. People and scripts read the last two.
const (
	identityFile    = "identity.json"   // who this server is; with keyring, all that must be kept to come back
	setupSecretFile = "setup-secret"    // the one-time secret; there only while the installation is unclaimed
	pinFile         = "server-root.pin" // SHA-256 of the servers' root key, hex
)

// identity is who this installation and this server are.
type identity struct {
	server      string // "srv_…"
	name        string
	joined      bool   // it came to an installation that was there
	incarnation string // of the cluster, if it was restored or recovered
	cluster     gestor.Cluster
	serverRoot  *pki.Root
	agentRoot   *pki.Root
}

func (id identity) pin() string { return hex.EncodeToString(id.serverRoot.Pin()) }

// identityRecord is identity.json. The keys are sealed with the key ring.
type identityRecord struct {
	Cluster       string `json:"cluster"`
	Server        string `json:"server"`
	Name          string `json:"name"`
	Joined        bool   `json:"joined,omitempty"`
	ServerRoot    []byte `json:"server_root"`
	ServerRootKey []byte `json:"server_root_key"`
	AgentRoot     []byte `json:"agent_root"`
	AgentRootKey  []byte `json:"agent_root_key"`
	Incarnation   string `json:"incarnation,omitempty"`
	Replicated    bool   `json:"replicated,omitempty"` // there was a log in raft/: without it the directory is not whole any more
}

// openIdentity reads who this server is, which it must know before it can talk to others. On the first start of an
// installation it makes that up.
func openIdentity(dir string, ring *secret.Ring, c config.Config, now time.Time) (identity, error) {
	raw, err := os.ReadFile(filepath.Join(dir, identityFile))
	switch {
	case err == nil:
	case !errors.Is(err, os.ErrNotExist):
		return identity{}, fmt.Errorf("read the server's identity: %w", err)
	case exists(filepath.Join(dir, "raft")):
		return identity{}, fmt.Errorf("%s holds data but no %s: restore the file from a backup, or let this server join again with an empty directory",
			dir, identityFile)
	default:
		return makeIdentity(dir, ring, c, now)
	}
	var r identityRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return identity{}, fmt.Errorf("read the server's identity %s: %w; restore it from a backup, or let this server join again with an empty directory",
			filepath.Join(dir, identityFile), err)
	}
	if r.Replicated && empty(filepath.Join(dir, "raft")) {
		return identity{}, fmt.Errorf("%s says that this was server %s of cluster %s, but %s is gone: its copy of the state is lost. Restore a backup with "+
			"`gestor-server restore` into an empty directory; or, where other servers of the cluster run, let a new one take its place with "+
			"`gestor servers add --replace %s` and an empty directory", filepath.Join(dir, identityFile), r.Server, r.Cluster, filepath.Join(dir, "raft"), r.Name)
	}
	id, err := r.open(ring)
	if _, lost := errors.AsType[*secret.MissingKeyError](err); lost {
		return identity{}, lostRing(err)
	}
	return id, err
}

// empty reports whether a directory holds nothing, or is not there.
func empty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0 || errors.Is(err, os.ErrNotExist)
}

// noteReplicated writes into the identity that there is a log from now on.
func noteReplicated(dir string) error {
	r, err := readIdentity(dir)
	if err != nil || r.Replicated {
		return err
	}
	r.Replicated = true
	return r.write(dir)
}

func readIdentity(dir string) (identityRecord, error) {
	var r identityRecord
	raw, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the server's identity: %w", err)
	}
	return r, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// makeIdentity is the very first start of an installation.
func makeIdentity(dir string, ring *secret.Ring, c config.Config, now time.Time) (identity, error) {
	cluster := gestor.NewID[gestor.ClusterID]("clu")
	r := identityRecord{Cluster: string(cluster), Server: gestor.NewID[string]("srv"), Name: serverName(c)}
	var err error
	if r.ServerRoot, r.ServerRootKey, err = makeRoot(ring, cluster, "server", gestor.ServerRootPlace, now); err != nil {
		return identity{}, fmt.Errorf("make the installation's identity: %w", err)
	}
	if r.AgentRoot, r.AgentRootKey, err = makeRoot(ring, cluster, "agent", gestor.AgentRootPlace, now); err != nil {
		return identity{}, fmt.Errorf("make the installation's identity: %w", err)
	}
	if err := r.write(dir); err != nil {
		return identity{}, err
	}
	return r.open(ring)
}

func (r identityRecord) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, identityFile), string(raw)+"\n"); err != nil {
		return fmt.Errorf("write the server's identity: %w", err)
	}
	return nil
}

// open opens the roots' keys with the ring.
func (r identityRecord) open(ring *secret.Ring) (identity, error) {
	id := identity{server: r.Server, name: r.Name, joined: r.Joined, incarnation: r.Incarnation, cluster: gestor.Cluster{
		ID: gestor.ClusterID(r.Cluster), ServerRoot: r.ServerRoot, ServerRootKey: r.ServerRootKey,
		AgentRoot: r.AgentRoot, AgentRootKey: r.AgentRootKey,
	}}
	var err error
	if id.serverRoot, err = openRoot(ring, r.ServerRoot, r.ServerRootKey, gestor.ServerRootPlace); err != nil {
		return identity{}, fmt.Errorf("open the servers' root with the key ring: %w", err)
	}
	if id.agentRoot, err = openRoot(ring, r.AgentRoot, r.AgentRootKey, gestor.AgentRootPlace); err != nil {
		return identity{}, fmt.Errorf("open the agents' root with the key ring: %w", err)
	}
	return id, nil
}

func openRoot(ring *secret.Ring, certificate, sealed []byte, place string) (*pki.Root, error) {
	key, err := ring.Open(sealed, place)
	if err != nil {
		return nil, err
	}
	return pki.LoadRoot(certificate, key)
}

// serverName is what this server is called: as configured, or after its host.
func serverName(c config.Config) string {
	if c.Name != "" {
		return c.Name
	}
	host, _, _ := strings.Cut(strings.ToLower(hostname()), ".")
	if gestor.CheckNodeName("name", host) != nil {
		return "server"
	}
	return host
}

// initCluster writes the identity into the state of a new installation, with the hash of the setup secret. The secret's file is
// written first: were the order the other way round, a crash in between would leave an installation nobody can claim.
func (s *Server) initCluster(ctx context.Context) error {
	cluster, err := s.engine.View(gestor.SystemScope()).Cluster(ctx)
	if err == nil {
		s.id.cluster = cluster
		if cluster.Claimed {
			return forgetSetupSecret(s.options.Config.DataDir)
		}
		return nil
	}
	if !errors.Is(err, fault.KindNotFound) {
		return fmt.Errorf("read the installation's identity: %w", err)
	}
	setup := "gsu_" + strings.ToLower(rand.Text())
	if err := writeFile(filepath.Join(s.options.Config.DataDir, setupSecretFile), setup+"\n"); err != nil {
		return err
	}
	first := s.id.cluster
	first.FirstUID, first.SetupHash = s.options.Config.FirstUID, pki.HashSecret(setup)
	c := command.Command{Actor: gestor.SystemActor("setup"), Op: command.InitCluster{Cluster: first}}
	if _, err := s.engine.Propose(ctx, c); err != nil {
		return fmt.Errorf("make the installation: %w", err)
	}
	s.id.cluster = first
	return nil
}

// renewIncarnation makes this server one of another incarnation of its cluster: those of before cannot talk it into
// anything any more, whatever they know.
func renewIncarnation(dir string) error {
	r, err := readIdentity(dir)
	if err != nil {
		return err
	}
	r.Incarnation = newIncarnation()
	return r.write(dir)
}

func newIncarnation() string { return strings.ToLower(rand.Text()) }

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
	if s.id.joined || s.options.Out == nil {
		return nil
	}
	cluster, err := s.engine.View(gestor.SystemScope()).Cluster(ctx)
	if errors.Is(err, fault.KindNotFound) || err == nil && cluster.Claimed {
		return nil // claimed, or one of several whose state comes from the others
	}
	if err != nil {
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
