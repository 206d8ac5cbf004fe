package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const (
	renewTimeout = 30 * time.Second
	retryFirst   = time.Second
	retryMost    = 10 * time.Minute
	checkEvery   = 5 * time.Second // that a server is still there
	renewLeast   = time.Minute     // between two renewals, whatever the clocks say
)

// Keeper holds the identity in use. It is safe for concurrent use.
type Keeper struct {
	dir     Dir
	version string
	servers []string // from the configuration; empty for those of the identity
	log     *slog.Logger

	mu       sync.Mutex // guards everything below
	identity Identity
	key      *ecdsa.PrivateKey
	clients  map[string]*rpc.Client // by address
	tickets  tls.ClientSessionCache // of TLS: what one server gave, all take
	starts   uint64                 // of the agent, this one included; 0 if they could not be counted
}

// KeeperOptions say whose identity to keep.
type KeeperOptions struct {
	Dir     Dir
	Servers []string // host:port, in place of those of the identity
	Version string
	Log     *slog.Logger
}

// Open loads the identity.
func Open(o KeeperOptions) (*Keeper, error) {
	i, key, err := o.Dir.Load()
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		dir: o.Dir, version: o.Version, log: o.Log, identity: i, key: key,
		clients: map[string]*rpc.Client{}, tickets: tls.NewLRUClientSessionCache(4),
	}
	if k.starts, err = o.Dir.countStart(); err != nil {
		o.Log.Warn("could not count the starts of this agent", "err", err) // it works without; only the order of its sessions is not told
	}
	for _, s := range o.Servers {
		address, err := Address(s)
		if err != nil {
			return nil, err
		}
		k.servers = append(k.servers, address)
	}
	return k, nil
}

// Identity returns the identity in use.
func (k *Keeper) Identity() Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.identity
}

// Servers lists the servers' addresses, host:port.
func (k *Keeper) Servers() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.servers) > 0 {
		return k.servers
	}
	return k.identity.Servers
}

// Client returns a client of the server at address, with this host's certificate.
func (k *Keeper) Client(address string) (*rpc.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.clients[address]; ok {
		return c, nil
	}
	roots, err := rpc.Roots(k.identity.ServerRoots...)
	if err != nil {
		return nil, err
	}
	certificate := tlsCertificate(k.identity, k.key)
	c := rpc.New(rpc.Options{
		Address: address, ServerName: k.identity.ServerName(), Roots: roots, Version: k.version,
		Certificate: func() (*tls.Certificate, error) { return certificate, nil }, Tickets: k.tickets, Check: checkEvery,
	})
	k.clients[address] = c
	return c, nil
}

// Run renews the certificate when two thirds of its life are over, give or take a tenth, or at once if it has expired,
// until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(k.untilRenewal(time.Now()))
	defer timer.Stop()
	retry := retryFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := k.Renew(ctx); err != nil {
			k.log.Warn("certificate not renewed", "err", err, "not_after", k.Identity().NotAfter)
			timer.Reset(retry/2 + rand.N(retry)) //nolint:gosec // jitter
			retry = min(2*retry, retryMost)
			continue
		}
		retry = retryFirst
		timer.Reset(max(k.untilRenewal(time.Now()), renewLeast))
	}
}

func (k *Keeper) untilRenewal(now time.Time) time.Duration {
	i := k.Identity()
	life := i.NotAfter.Sub(i.NotBefore)
	jitter := time.Duration((rand.Float64() - 0.5) * 0.2 * float64(life)) //nolint:gosec // jitter
	return max(0, i.NotBefore.Add(life*2/3+jitter).Sub(now))
}

// Renew asks the servers in turn for a new certificate for the same key and stores it. After an answer that was lost,
// also by a crash, it asks for the same one again.
func (k *Keeper) Renew(ctx context.Context) error {
	csr, err := k.dir.renewal(k.Identity().Generation, k.key)
	if err != nil {
		return err
	}
	err = errors.New("no server is known: name one in the configuration")
	for _, address := range k.Servers() {
		var next Identity
		if next, err = k.renewAt(ctx, address, csr); err == nil {
			return k.replace(next)
		}
	}
	return err
}

func (k *Keeper) renewAt(ctx context.Context, address string, csr []byte) (Identity, error) {
	client, err := k.Client(address)
	if err != nil {
		return Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	enrollment := agentv1connect.NewEnrollmentServiceClient(client.HTTP, client.URL, client.Options()...)
	answer, err := enrollment.Renew(ctx, &agentv1.RenewRequest{Csr: csr, Generation: k.Identity().Generation})
	if err != nil {
		return Identity{}, explain(err, address)
	}
	return fromProto(answer.GetIdentity(), k.key)
}

// replace stores the new identity first, because the servers count generations, and then drops the old clients:
// streams under way go on, new ones use the new certificate.
func (k *Keeper) replace(next Identity) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if next.NodeID != k.identity.NodeID || next.ClusterID != k.identity.ClusterID {
		return fmt.Errorf("the server answered for node %s of cluster %s: this host is %s of %s",
			next.NodeID, next.ClusterID, k.identity.NodeID, k.identity.ClusterID)
	}
	if len(next.Servers) == 0 {
		next.Servers = k.identity.Servers
	}
	if err := k.dir.Store(next); err != nil {
		return err
	}
	k.identity = next
	for _, c := range k.clients {
		c.Close()
	}
	k.clients, k.tickets = map[string]*rpc.Client{}, tls.NewLRUClientSessionCache(4) // the old tickets stand for the old certificate
	if err := k.dir.dropRenewal(); err != nil {                                      // of no use any more: its generation is over
		k.log.Warn("renewal not tidied up", "err", err)
	}
	k.log.Info("certificate renewed", "not_after", next.NotAfter, "generation", next.Generation)
	return nil
}
