package main

import (
	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/server"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Read the data of a stopped server through", Args: cobra.NoArgs,
		Long: "Read identity, log and snapshots of a stopped server through, and say what is damaged and what to do.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := offline(cmd)
			if err != nil {
				return err
			}
			return server.Check(cmd.Context(), o)
		},
	}
	server.Flags(cmd.Flags())
	return cmd
}
