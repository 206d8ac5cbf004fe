package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
)

// with runs a command that talks to the server.
func (r *run) with(do func(ctx context.Context, conn *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		conn, err := r.client()
		if err != nil {
			return err
		}
		return cause(c.Context(), do(c.Context(), conn, args))
	}
}

// withApp is with for a command whose first argument may be left out for the app of the current directory.
func (r *run) withApp(do func(ctx context.Context, conn *client.Client, app string) error) func(*cobra.Command, []string) error {
	return r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		app, err := r.appName(ctx, conn, optional(args))
		if err != nil {
			return err
		}
		return do(ctx, conn, app)
	})
}

// confirmName asks a person to type the name of what is about to be lost.
func (r *run) confirmName(name, consequence string, yes bool) error {
	if yes {
		return nil
	}
	if !r.env.InTerminal || r.out.JSON {
		return fault.Invalid("", "deleting %s needs a confirmation and nobody is there to ask", name).WithFix("add --yes")
	}
	r.out.Notef("%s", consequence)
	answer, err := r.ask("Type " + name + " to delete it:")
	if err != nil {
		return err
	}
	if answer != name {
		return fault.Cancelled("that is not %q; nothing was deleted", name)
	}
	return nil
}
