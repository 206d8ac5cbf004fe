package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/server"
)

func recoverCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "recover", Short: "Go on alone after the other servers are lost", Args: cobra.NoArgs,
		Long: "Make a stopped server the only one of its cluster, when so many of the others are lost for good that no majority is left.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := offline(cmd)
			if err != nil {
				return err
			}
			if !yes {
				o.Confirm = func() (bool, error) { return server.Confirm(os.Stdin, cmd.OutOrStdout()) }
			}
			return server.Recover(cmd.Context(), o)
		},
	}
	server.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// offline are the options of commands for a stopped server.
func offline(cmd *cobra.Command) (server.OfflineOptions, error) {
	config, err := server.LoadConfig(cmd.Flags(), os.LookupEnv)
	if err != nil {
		return server.OfflineOptions{}, err
	}
	return server.OfflineOptions{
		DataDir: config.DataDir, Keys: server.KeysOfProcess(), Version: version, Out: cmd.OutOrStdout(), Log: server.NewLogger(config, os.Stderr),
	}, nil
}
