package cmd

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/dotenv"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) envCmd() *cobra.Command {
	return noun("env", "The variables of an app, sealed", nil,
		r.envListCmd(), r.envSetCmd(), r.envUnsetCmd(), r.envImportCmd(), r.envHistoryCmd(), r.envDiffCmd(), r.envRollbackCmd(),
		r.envRevealCmd(), r.envExportCmd())
}

func (r *run) appFlag(c *cobra.Command) *string {
	app := c.Flags().StringP("app", "a", "", "the app (default: the one of the current directory)")
	_ = c.RegisterFlagCompletionFunc("app", r.completeApps)
	return app
}

func (r *run) envListCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "list [app]", Aliases: []string{"ls"}, Short: "List the names of an app's variables", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeApps,
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		named := *app
		if named == "" {
			named = optional(args)
		}
		slug, err := r.appName(ctx, conn, named)
		if err != nil {
			return err
		}
		res, err := conn.Apps().ListEnv(ctx, &gestorv1.ListEnvRequest{App: slug})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		t := output.NewTable("NAME", "SET", "BY", "STATE")
		for _, v := range res.GetVars() {
			t.Row(v.GetName(), r.out.Ago(v.GetUpdatedAt()), v.GetSetBy(), r.envState(v))
		}
		r.out.Table(t, slug+" has no variables; set one with: gestor apps env set --app "+slug+" NAME=value")
		return nil
	})
	return c
}

// envState says what is wrong with a variable.
func (r *run) envState(v *gestorv1.EnvVar) output.Styled {
	if v.GetUnreadableKey() == "" {
		return ""
	}
	return r.out.Paint(output.Red, "unreadable: key "+v.GetUnreadableKey()+" is lost; set it anew")
}

func (r *run) envSetCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "set [app] NAME=value… | [app] NAME -", Short: "Set variables; they take effect with the next deployment",
		Long: `Set variables. An argument is visible to other users of this computer while gestor runs: give a secret as "NAME -"
and its value on standard input instead. One line end at its end is left out.`,
		Example: `  gestor apps env set --app blog LOG_LEVEL=info
  pass show blog/db | gestor apps env set --app blog DATABASE_URL -`,
		Args: cobra.MinimumNArgs(1),
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		if *app == "" && leadsWithApp(args) {
			*app, args = args[0], args[1:]
		}
		vars, err := r.assignments(args)
		if err != nil {
			return err
		}
		return r.updateEnv(ctx, conn, *app, &gestorv1.UpdateEnvRequest{Set: vars})
	})
	return c
}

// leadsWithApp reports arguments that can only mean an app first: it has no value, and what follows is an assignment.
func leadsWithApp(args []string) bool {
	if len(args) < 2 || strings.Contains(args[0], "=") {
		return false
	}
	return strings.Contains(args[1], "=") || (len(args) == 3 && args[2] == "-")
}

func (r *run) assignments(args []string) (map[string]string, error) {
	if len(args) == 2 && args[1] == "-" {
		value, err := r.stdin()
		return map[string]string{args[0]: strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")}, err
	}
	vars := map[string]string{}
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fault.Invalid("", "%q is not NAME=value", a).
				WithFix("name the app with --app, or give a secret on standard input with: NAME -")
		}
		vars[name] = value
	}
	return vars, nil
}

func (r *run) envUnsetCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "unset NAME…", Short: "Remove variables; it takes effect with the next deployment", Args: cobra.MinimumNArgs(1),
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		return r.updateEnv(ctx, conn, *app, &gestorv1.UpdateEnvRequest{Unset: args})
	})
	return c
}

func (r *run) envImportCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "import <.env file | ->", Short: "Set the variables of a .env file", Args: cobra.ExactArgs(1),
		Long: `Set the variables of a .env file; - reads standard input. Lines are NAME=value, with an optional "export". Single quotes
keep everything, double quotes know \n \r \t \" \\ and \$; both may span lines. # begins a comment. Nothing is expanded.`,
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		text, err := r.envFile(args[0])
		if err != nil {
			return err
		}
		vars, err := dotenv.Parse(text)
		if err != nil {
			return fault.Wrap(err, "read %s", args[0])
		}
		if len(vars) == 0 {
			return fault.Invalid("", "%s holds no variable", args[0])
		}
		return r.updateEnv(ctx, conn, *app, &gestorv1.UpdateEnvRequest{Set: vars})
	})
	return c
}

func (r *run) envFile(path string) (string, error) {
	if path == "-" {
		return r.stdin()
	}
	raw, err := os.ReadFile(r.path(path))
	if err != nil {
		return "", fault.Invalid("file", "%v", err)
	}
	return string(raw), nil
}

func (r *run) updateEnv(ctx context.Context, conn *client.Client, named string, req *gestorv1.UpdateEnvRequest) error {
	app, err := r.appName(ctx, conn, named)
	if err != nil {
		return err
	}
	req.App, req.RequestId = app, requestID()
	res, err := conn.Apps().UpdateEnv(ctx, req)
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	if len(req.GetSet()) > 0 {
		r.out.Linef("set %s of %s", strings.Join(slices.Sorted(maps.Keys(req.GetSet())), ", "), app)
	}
	if len(req.GetUnset()) > 0 {
		r.out.Linef("removed %s from %s", strings.Join(req.GetUnset(), ", "), app)
	}
	r.out.Notef("it takes effect with the next deployment: gestor deploy %s", app)
	return nil
}
