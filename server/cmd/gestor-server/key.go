package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/server"
)

func newKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new-key", Short: "Make a key for a key ring that the server does not write", Args: cobra.NoArgs,
		Long: `Make a key, a secret, for a key ring that is a systemd credential or an environment variable. Put the line above the last one
of the ring on every control server, restart them one after the other, and then have it seal:

  gestor servers rotate-key --key <id>

The id is the first word of the line. A ring in a file needs none of this: gestor servers rotate-key makes and spreads the key.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), server.NewKeyLine())
			return err
		},
	}
}
