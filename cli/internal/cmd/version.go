package cmd

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) versionCmd() *cobra.Command {
	var clientOnly bool
	c := &cobra.Command{
		Use: "version", Short: "Show the versions of client and server", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v := map[string]string{"client": r.env.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			var err error
			if !clientOnly {
				err = r.serverVersion(c.Context(), v)
			}
			if r.out.JSON {
				if printErr := r.out.Value(v); printErr != nil {
					return printErr
				}
				return cause(c.Context(), err)
			}
			r.out.Fields([2]any{"client", v["client"]}, [2]any{"server", v["server"]}, [2]any{"url", v["url"]},
				[2]any{"go", v["go"]}, [2]any{"platform", v["platform"]})
			return cause(c.Context(), err)
		},
	}
	c.Flags().BoolVar(&clientOnly, "client", false, "do not ask the server")
	return c
}

// serverVersion asks the server, if one is known.
func (r *run) serverVersion(ctx context.Context, v map[string]string) error {
	if _, _, _, err := r.target(); err != nil && r.contextName == "" {
		return nil // no server is known, which is fine for a version
	}
	conn, err := r.client()
	if err != nil {
		return err
	}
	v["url"] = conn.URL
	res, err := conn.Setup().GetSetup(ctx, &gestorv1.GetSetupRequest{})
	if err == nil {
		v["server"], v["url"] = res.GetVersion(), "https://"+conn.Address()
	}
	return err
}

// path is a file named on the command line, seen from the current directory.
func (r *run) path(name string) string { return absolute(r.env.Dir, name) }
