package state

import (
	"context"
	"fmt"
)

// ForgetServers removes all control servers but one, and the tokens with which others might join. It is for a state that
// begins anew on one server; in a running installation servers leave by commands.
func (x *Txn) ForgetServers(ctx context.Context, but string) error {
	x.touch(Servers | ServerTokens)
	if err := x.exec(ctx, "DELETE FROM servers WHERE id <> ?", but); err != nil {
		return fmt.Errorf("forget servers: %w", err)
	}
	return x.exec(ctx, "DELETE FROM server_tokens")
}
