// Command gestor-server is Gestor's control server.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/server"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gestor-server:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "gestor-server", Short: "Gestor's control server", Args: cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true, RunE: run,
	}
	serve := &cobra.Command{Use: "run", Short: "Serve until stopped", Args: cobra.NoArgs, RunE: run}
	show := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
		return err
	}}
	server.Flags(root.Flags())
	server.Flags(serve.Flags())
	root.AddCommand(serve, show, restoreCommand(), recoverCommand(), checkCommand(), newKeyCommand())
	return root
}

func run(cmd *cobra.Command, _ []string) error {
	keys := server.KeysOfProcess() // first of all, so that what is started later does not see it
	config, err := server.LoadConfig(cmd.Flags(), os.LookupEnv)
	if err != nil {
		return err
	}
	log, files, err := server.OpenLogs(config, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { _ = files.Close() }() // what it could not write was counted
	slog.SetDefault(log)
	s, err := server.New(cmd.Context(), server.Options{Config: config, Version: version, Out: cmd.OutOrStdout(), Log: log, Files: files, JoinToken: os.Getenv("GESTOR_JOIN_TOKEN"), Keys: keys})
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			log.Error("could not close all", "err", err)
		}
	}()
	return s.Run(cmd.Context())
}
