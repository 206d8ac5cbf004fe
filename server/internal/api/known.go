package api

import (
	"context"
	"sync"

	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// known keeps who stands behind a token, and the installation, for as long as nothing that decides it has changed here:
// every call asks, and the tables that answer change when somebody signs in or out. Version counts those changes, before
// anybody hears that they were made. Whether a session has ended by the clock is asked anew each time.
type known struct {
	version func(tables ...state.Table) uint64 // nil keeps nothing

	mu      sync.Mutex
	at      uint64                 // the version of all below; guarded by mu
	callers map[string]auth.Caller // by the token's hash; guarded by mu
	cluster *gestor.Cluster        // guarded by mu
}

// mostKnown bounds the memory for callers. Only those who showed a valid token are kept.
const mostKnown = 10_000

// now is the version to keep under what is read after the call, and to ask for what was kept.
func (k *known) now() uint64 {
	if k.version == nil {
		return 0
	}
	return k.version(state.Cluster, state.Tenants, state.Users, state.Sessions, state.Tokens)
}

// caller returns who stands behind a token; read finds out, and who is the installation's.
func (k *known) caller(ctx context.Context, hash []byte, read func(context.Context, []byte) (auth.Caller, error)) (auth.Caller, error) {
	version := k.now()
	if c, ok := k.look(version, string(hash)); ok {
		return c, nil
	}
	c, err := read(ctx, hash)
	if err == nil {
		k.keep(version, func() {
			if len(k.callers) >= mostKnown {
				clear(k.callers)
			}
			k.callers[string(hash)] = c
		})
	}
	return c, err
}

func (k *known) look(version uint64, hash string) (auth.Caller, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version == nil || k.at != version {
		return auth.Caller{}, false
	}
	c, ok := k.callers[hash]
	return c, ok
}

// installation returns the cluster; read finds it.
func (k *known) installation(ctx context.Context, read func(context.Context) (gestor.Cluster, error)) (gestor.Cluster, error) {
	version := k.now()
	k.mu.Lock()
	kept := k.cluster
	fresh := k.version != nil && k.at == version && kept != nil
	k.mu.Unlock()
	if fresh {
		return *kept, nil
	}
	c, err := read(ctx)
	if err == nil {
		k.keep(version, func() { k.cluster = &c })
	}
	return c, err
}

// keep keeps what was read after a look at version, unless something newer is kept already.
func (k *known) keep(version uint64, put func()) {
	if k.version == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at > version {
		return
	}
	if k.at < version || k.callers == nil {
		k.at, k.callers, k.cluster = version, map[string]auth.Caller{}, nil
	}
	put()
}
