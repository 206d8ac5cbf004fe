package state

import (
	"context"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var servers = newTable(Servers, "servers", []string{"id"}, func(s *gestor.Server) []column {
	return []column{
		{"id", &s.ID},
		{"name", &s.Name},
		{"peer_address", &s.PeerAddress},
		{"addresses_json", &s.Addresses},
		{"version", &s.Version},
		{"level", &s.Level},
		{"replaces", &s.Replaces},
		{"created_at", &s.CreatedAt},
		{"revision", &s.Revision},
	}
})

// Servers are the control servers by name. They belong to no tenant; this and the reads below show them to the system
// scope only.
func (v *View) Servers(ctx context.Context) ([]gestor.Server, error) {
	return installed(ctx, v, servers, " ORDER BY name, id")
}

// Server is a control server.
func (v *View) Server(ctx context.Context, id gestor.ServerID) (gestor.Server, error) {
	return oneInstalled(ctx, v, servers, "server", " AND id = ?", string(id))
}

// ServerByName is the control server with a name.
func (v *View) ServerByName(ctx context.Context, name string) (gestor.Server, error) {
	return oneInstalled(ctx, v, servers, "server", " AND name = ?", name)
}

// installed reads rows of the installation, which belong to no tenant.
func installed[T any](ctx context.Context, v *View, t *table[T], rest string, args ...any) ([]T, error) {
	if !v.scope.IsSystem() {
		return nil, nil
	}
	return many(ctx, v, t, rest, args...)
}

func oneInstalled[T any](ctx context.Context, v *View, t *table[T], noun, rest string, args ...any) (T, error) {
	if !v.scope.IsSystem() {
		var none T
		return none, fault.NotFound("there is no such %s", noun)
	}
	return one(ctx, v, t, noun, rest, args...)
}

// PutServer writes a control server.
func (x *Txn) PutServer(ctx context.Context, s gestor.Server) error {
	s.Revision = x.Revision
	return servers.save(ctx, x, &s)
}

const forgetReplaced = `
UPDATE servers
SET replaces = '', revision = ?
WHERE replaces = ?`

// DeleteServer removes a control server, also from what replaces it.
func (x *Txn) DeleteServer(ctx context.Context, id gestor.ServerID) error {
	x.touch(Servers)
	if err := x.exec(ctx, "DELETE FROM servers WHERE id = ?", string(id)); err != nil {
		return fmt.Errorf("delete server %s: %w", id, err)
	}
	return x.exec(ctx, forgetReplaced, int64(x.Revision), string(id))
}

type serverTokenRow struct {
	gestor.ServerToken
	revision uint64
}

var serverTokens = newTable(ServerTokens, "server_tokens", []string{"id"}, func(t *serverTokenRow) []column {
	return []column{
		{"id", &t.ID},
		{"secret_hash", &t.SecretHash},
		{"name", &t.Name},
		{"replaces", &t.Replaces},
		{"expires_at", &t.ExpiresAt},
		{"created_by", &t.CreatedBy},
		{"audit_in", &t.AuditIn},
		{"used_by", &t.UsedBy},
		{"revision", &t.revision},
	}
})

// ServerToken is a server token by its public part, used or expired or not.
func (v *View) ServerToken(ctx context.Context, id string) (gestor.ServerToken, error) {
	t, err := oneInstalled(ctx, v, serverTokens, "server token", " AND id = ?", id)
	return t.ServerToken, err
}

// PutServerToken writes a server token.
func (x *Txn) PutServerToken(ctx context.Context, t gestor.ServerToken) error {
	return serverTokens.save(ctx, x, &serverTokenRow{t, x.Revision})
}

// PruneServerTokens removes tokens that expired before a time.
func (x *Txn) PruneServerTokens(ctx context.Context, before time.Time) error {
	x.touch(ServerTokens)
	return x.exec(ctx, "DELETE FROM server_tokens WHERE expires_at < ?", nanos(before))
}
