package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/keyring"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// keyringFile is the key ring in the data directory, unless it is kept elsewhere.
const keyringFile = "keyring"

// Keys are where the key ring may be besides the data directory.
type Keys struct {
	Credentials string // the directory that systemd names in CREDENTIALS_DIRECTORY; empty for none
	Environment string // what was in GESTOR_KEYRING, a secret; empty for none
}

// KeysOfProcess are the places that the process was started with. What the environment held is wiped out of it.
func KeysOfProcess() Keys {
	return Keys{Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), Environment: secret.TakeVariable()}
}

// NewKeyLine makes a key that is in no ring yet, as a line for one.
func NewKeyLine() string {
	return secret.NewKey().Line()
}

func (k Keys) places(dir string) secret.Places {
	return secret.Places{Credentials: k.Credentials, Environment: k.Environment, File: filepath.Join(dir, keyringFile)}
}

func (o Options) places() secret.Places { return o.Keys.places(o.Config.DataDir) }

// openRing opens the key ring. On a first start it makes one; where there is data already, a ring that is missing was
// lost, and a new one would only hide that.
func openRing(p secret.Places) (*secret.Ring, error) {
	ring, err := p.Load()
	if !errors.Is(err, os.ErrNotExist) {
		return ring, err
	}
	dir := filepath.Dir(p.File)
	for _, name := range []string{"raft", identityFile} {
		if exists(filepath.Join(dir, name)) {
			return nil, lostRing(fmt.Errorf("the key ring %s is missing, and %s holds data sealed with it", p.File, dir))
		}
	}
	return secret.Create(p.File)
}

// lostRing says what a server without its keys is, and what to do. It cannot serve: with the keys it has lost the one that
// proves to agents, people and other servers who it is.
func lostRing(err error) error {
	return fmt.Errorf(`%w.
Deployed apps go on as they are, and so do the other control servers. This one cannot prove who it is and does not start. Do one of these:
 - put the ring back: the file %s from a copy that was kept, or the credential or variable it came from; every server of the cluster has the same
 - if another server runs, let this one join again: gestor servers add, then start it with an empty data directory
 - without any copy the secrets are lost for good: begin anew with an empty data directory and enrol the nodes again`, err, keyringFile)
}

// wireKeys puts together what keeps the rings of the servers in step.
func (s *Server) wireKeys(p *parts) {
	p.keys = keyring.New(keyring.Options{
		Engine: s.engine, Port: s.port, Ring: s.ring, Self: gestor.ServerID(s.id.server), Local: s.sealIdentity, Known: s.rootKey,
		Look: s.options.Tuning.Keys, Log: s.log.With("component", "keys"),
	})
	s.engine.OnTerm("keys", p.keys.RunTerm)
	p.run = append(p.run, part{"keys", p.keys.Run})
}

// sealIdentity seals the roots' keys in identity.json with the key that seals now, if another did.
func (s *Server) sealIdentity() error {
	dir := s.options.Config.DataDir
	r, err := readIdentity(dir)
	if err != nil {
		return err
	}
	sealing := s.ring.Sealing()
	server, _ := secret.KeyOf(r.ServerRootKey) // what no ring has sealed is sealed anew, too
	agent, _ := secret.KeyOf(r.AgentRootKey)
	if server == sealing && agent == sealing {
		return nil
	}
	if r.ServerRootKey, r.AgentRootKey, err = s.sealRoots(); err != nil {
		return err
	}
	return r.write(dir)
}

// rootKey is the key of a root, by the place it is sealed for.
func (s *Server) rootKey(place string) ([]byte, bool) {
	root, ok := map[string]*pki.Root{gestor.ServerRootPlace: s.id.serverRoot, gestor.AgentRootPlace: s.id.agentRoot}[place]
	if !ok {
		return nil, false
	}
	key, err := root.MarshalKey()
	return key, err == nil
}

// sealRoots are the roots' keys, sealed with the key that seals now.
func (s *Server) sealRoots() (server, agent []byte, err error) {
	one, err := s.id.serverRoot.MarshalKey()
	if err != nil {
		return nil, nil, err
	}
	two, err := s.id.agentRoot.MarshalKey()
	if err != nil {
		return nil, nil, err
	}
	return s.ring.Seal(one, gestor.ServerRootPlace), s.ring.Seal(two, gestor.AgentRootPlace), nil
}
