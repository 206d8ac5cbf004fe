package cmd

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// keyFlags are what rotate-key can be told.
type keyFlags struct {
	status, again, drop, yes bool
	key                      string
}

func (r *run) serversKeyCmd() *cobra.Command {
	var f keyFlags
	c := &cobra.Command{
		Use: "rotate-key", Short: "Change the key that seals all secrets", Args: cobra.NoArgs,
		Long: `Change the key that seals all secrets, without any downtime. A new key goes to every control server; once all have it, it seals,
and everything sealed before is sealed anew. A server that is away keeps it waiting. --status tells how far it is.

The old key stays until --drop-old, which is refused while anything is sealed with it. The servers then move it into the file
keyring.retired beside their ring: backups made before need it. Keep a copy of the ring, apart from the backups, after each change.`,
		Example: `  gestor servers rotate-key
  gestor servers rotate-key --status
  gestor servers rotate-key --drop-old`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			switch {
			case f.status:
				return r.showKeys(ctx, conn)
			case f.drop:
				return r.dropKeys(ctx, conn, f.yes)
			default:
				return r.rotateKey(ctx, conn, f)
			}
		}),
	}
	c.Flags().BoolVar(&f.status, "status", false, "tell which keys there are and how far the change is")
	c.Flags().BoolVar(&f.drop, "drop-old", false, "drop the keys that were replaced")
	c.Flags().StringVar(&f.key, "key", "", "the id of a key that all servers have already, where they do not write their ring")
	c.Flags().BoolVar(&f.again, "again", false, "give up a key that still waits for servers, and begin anew")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("status", "drop-old", "key")
	c.MarkFlagsMutuallyExclusive("status", "drop-old", "again")
	return c
}

func (r *run) rotateKey(ctx context.Context, conn *client.Client, f keyFlags) error {
	res, err := conn.Servers().RotateKey(ctx, &gestorv1.RotateKeyRequest{RequestId: requestID(), Key: f.key, Again: f.again})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	r.out.Linef("the key %s goes to all servers, and seals everything anew once they have it", res.GetKey())
	r.out.Notef("see how far it is with: gestor servers rotate-key --status")
	r.out.Notef("then keep a new copy of the key ring in a safe place")
	return nil
}

func (r *run) dropKeys(ctx context.Context, conn *client.Client, yes bool) error {
	if !yes {
		question := "Backups made before the change need the old key, which stays in keyring.retired beside the ring of each server. Drop it?"
		if err := r.confirm(question, "--yes"); err != nil {
			return err
		}
	}
	res, err := conn.Servers().DropKeys(ctx, &gestorv1.DropKeysRequest{RequestId: requestID()})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	r.out.Linef("dropped %s; each server keeps it in keyring.retired, for backups made before", strings.Join(res.GetKeys(), ", "))
	return nil
}

func (r *run) showKeys(ctx context.Context, conn *client.Client) error {
	res, err := conn.Servers().GetKeys(ctx, &gestorv1.GetKeysRequest{})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	t := output.NewTable("KEY", "STATUS", "SEALED WITH IT", "SINCE", "SERVERS", "LACKING")
	for _, k := range res.GetKeys() {
		since := k.GetSealingAt()
		if since == nil {
			since = k.GetCreatedAt()
		}
		t.Row(k.GetId(), output.Enum(k.GetStatus(), "KEY_STATUS_"), strconv.FormatInt(k.GetValues(), 10), r.out.Ago(since),
			strings.Join(k.GetServers(), ", "), output.Clean(strings.Join(k.GetLacking(), "; ")))
	}
	r.out.Table(t, "the servers have not said yet which key they seal with")
	r.showRotation(res.GetRotation())
	for _, id := range slices.Sorted(maps.Keys(res.GetUnreadable())) {
		r.out.Linef("%s %d values cannot be read: the key %s is not in %s; put it back, or set them anew",
			r.out.Paint(output.Yellow, "lost:"), res.GetUnreadable()[id], id, output.Clean(res.GetSource()))
	}
	return nil
}

func (r *run) showRotation(rot *gestorv1.KeyRotation) {
	switch {
	case rot == nil:
	case rot.GetPhase() == "done":
		r.out.Linef("changed to %s %s, for %s", rot.GetKey(), r.out.Ago(rot.GetFinishedAt()), output.Clean(rot.GetStartedBy()))
	case rot.GetWaiting() != "":
		r.out.Linef("%s %s", r.out.Paint(output.Yellow, "waiting:"), output.Clean(rot.GetWaiting()))
	default:
		r.out.Linef("%s to %s, %d values left", rot.GetPhase(), rot.GetKey(), rot.GetRemaining())
	}
}
