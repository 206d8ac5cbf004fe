package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/agent"
	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/proto/fault"
)

const tokenVariable = "GESTOR_TOKEN" //nolint:gosec // a name

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "gestor-agent", Short: "Does what Gestor's control servers assign to this host",
		SilenceUsage: true, SilenceErrors: true,
	}
	c.PersistentFlags().String("config", "", "settings file (default "+config.DefaultFile+")")
	config.AddFlags(c.PersistentFlags())
	c.AddCommand(runCommand(), joinCommand(), versionCommand())
	return c
}

func load(c *cobra.Command) (config.Config, error) {
	file, err := c.Flags().GetString("config")
	if err != nil {
		return config.Config{}, err
	}
	return config.Load(config.Source{File: file, Flags: c.Flags()})
}

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the agent in the foreground", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := load(c)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: settings.LogLevel}))
			a, err := agent.New(agent.Config{Config: settings, Version: version, Log: log})
			if err != nil {
				return err
			}
			return a.Run(c.Context())
		},
	}
}

func joinCommand() *cobra.Command {
	var server, tokenFile string
	c := &cobra.Command{
		Use: "join", Short: "Make this host a node of a cluster", Args: cobra.NoArgs,
		Long: "Join uses a token made with gestor node token, given in the variable " + tokenVariable +
			" or in a file: arguments can be seen by every user of a host.",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := load(c)
			if err != nil {
				return err
			}
			token, err := readToken(tokenFile)
			if err != nil {
				return err
			}
			name, err := agent.Join(c.Context(), settings, server, token, version)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "This host is now the node %s. Start the agent: systemctl enable --now gestor-agent\n", name)
			return err
		},
	}
	c.Flags().StringVar(&server, "server", "", "a control server, https://host:port")
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with the join token; - for standard input")
	_ = c.MarkFlagRequired("server")
	return c
}

func readToken(file string) (string, error) {
	if file == "" {
		if token := os.Getenv(tokenVariable); token != "" {
			return token, nil
		}
		return "", fault.Invalid("token", "there is no join token").
			WithFix("set %s or give --token-file; make a token with: gestor node token <name>", tokenVariable)
	}
	if file == "-" {
		file = "/dev/stdin"
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), version)
			return err
		},
	}
}
