package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/server"
)

func restoreCommand() *cobra.Command {
	var o server.RestoreOptions
	cmd := &cobra.Command{
		Use: "restore", Short: "Make a cluster of one server out of a backup", Args: cobra.NoArgs,
		Long: "Make a cluster of one server out of a backup, in an empty data directory, with the key ring of the installation.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Config, err = server.LoadConfig(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			o.Version, o.Out = version, cmd.OutOrStdout()
			return server.Restore(cmd.Context(), o)
		},
	}
	server.Flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "the backup: a file, or s3://bucket/key")
	f.StringVar(&o.Keyring, "keyring", "", "the installation's key ring, a copy of the file keyring of any server's data directory")
	f.StringVar(&o.Endpoint, "s3-endpoint", "", "S3 server, https://…; backup.endpoint of the configuration by default")
	f.StringVar(&o.Region, "s3-region", "", "region of the bucket; backup.region of the configuration by default")
	f.StringVar(&o.Credentials, "s3-credentials", "", "file with the keys for S3; backup.credentials of the configuration by default")
	for _, name := range []string{"from", "keyring"} {
		cobra.CheckErr(cmd.MarkFlagRequired(name))
	}
	return cmd
}
