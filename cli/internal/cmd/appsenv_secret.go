package cmd

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) envRevealCmd() *cobra.Command {
	var version int64
	c := &cobra.Command{
		Use: "reveal [NAME…]", Short: "Show the values of variables; the audit log tells of it",
		Long: `Show the values of variables, all or those named. It needs a permission of its own and a fresh proof of who you are, and the
audit log tells of it. One name prints its value alone, for scripts; several print NAME="value" lines as env import reads them.`,
		Example: `  gestor apps env reveal --app blog DATABASE_URL
  gestor apps env reveal --app blog --version 3`,
	}
	app := r.appFlag(c)
	c.Flags().Int64Var(&version, "version", 0, "of an older version, see env history")
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		slug, err := r.appName(ctx, conn, *app)
		if err != nil {
			return err
		}
		res, err := conn.Apps().RevealEnv(ctx, &gestorv1.RevealEnvRequest{App: slug, Names: args, Version: version})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showValues(res, len(args) == 1)
		return nil
	})
	return c
}

// showValues prints values as they are: one alone raw, several quoted, so that no value passes for another line.
func (r *run) showValues(res *gestorv1.RevealEnvResponse, alone bool) {
	names := make([]string, 0, len(res.GetValues()))
	for name := range res.GetValues() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if alone && !r.env.OutTerminal {
			r.out.Linef("%s", res.GetValues()[name])
			continue
		}
		r.out.Linef("%s=%s", name, quoted(res.GetValues()[name]))
	}
	if len(res.GetUnreadable()) > 0 {
		r.out.Notef("cannot be read, because the key that sealed them is lost: %s", strings.Join(res.GetUnreadable(), ", "))
	}
}

// quoted writes a value as a .env file does, and what would steer a terminal as \x escapes.
func quoted(value string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range value {
		switch c {
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\\', '"', '$':
			b.WriteRune('\\')
			b.WriteRune(c)
		default:
			if strconv.IsPrint(c) {
				b.WriteRune(c)
				continue
			}
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(c), "'"))
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (r *run) envExportCmd() *cobra.Command {
	var version int64
	var recipients []string
	var out string
	c := &cobra.Command{
		Use: "export --recipient <key>", Short: "Save the variables to a file that only its recipients can open", Args: cobra.NoArgs,
		Long: `Save the variables to an age file. It is encrypted on the server: the values travel for the recipients only. A recipient is an
age key (age1…), an ssh public key, or a file with such lines: ~/.ssh/id_ed25519.pub, say. The audit log tells of it.`,
		Example: `  gestor apps env export --app blog --recipient ~/.ssh/id_ed25519.pub --out blog.env.age
  age --decrypt -i ~/.ssh/id_ed25519 blog.env.age`,
	}
	app := r.appFlag(c)
	c.Flags().StringArrayVarP(&recipients, "recipient", "r", nil, "who can open it: age1…, an ssh public key, or a file with them; repeatable")
	c.Flags().StringVarP(&out, "out", "o", "-", "the file, - for standard output")
	c.Flags().Int64Var(&version, "version", 0, "of an older version, see env history")
	_ = c.MarkFlagRequired("recipient")
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
		keys, err := r.recipients(recipients)
		if err != nil {
			return err
		}
		slug, err := r.appName(ctx, conn, *app)
		if err != nil {
			return err
		}
		res, err := conn.Apps().ExportEnv(ctx, &gestorv1.ExportEnvRequest{App: slug, Recipients: keys, Version: version})
		if err != nil {
			return err
		}
		return r.saveExport(slug, out, res)
	})
	return c
}

// recipients are the keys that were named, those in files included.
func (r *run) recipients(named []string) ([]string, error) {
	var keys []string
	for _, n := range named {
		if strings.HasPrefix(n, "age1") || strings.HasPrefix(n, "ssh-") {
			keys = append(keys, n)
			continue
		}
		raw, err := os.ReadFile(r.path(n))
		if err != nil {
			return nil, fault.Invalid("--recipient", "%v", err).WithFix("give age1…, the line of an ssh public key, or a file with such lines")
		}
		for line := range strings.SplitSeq(string(raw), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	return keys, nil
}

func (r *run) saveExport(app, out string, res *gestorv1.ExportEnvResponse) error {
	if r.out.JSON {
		return r.out.Object(res)
	}
	if out == "-" {
		r.out.Linef("%s", strings.TrimRight(res.GetFile(), "\n"))
		return nil
	}
	if err := os.WriteFile(r.path(out), []byte(res.GetFile()), 0o600); err != nil {
		return fault.Invalid("--out", "%v", err)
	}
	r.out.Linef("saved %d variables of %s to %s", res.GetVars(), app, out)
	return nil
}

func (r *run) envHistoryCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "history [app]", Short: "List the versions of an app's variables", Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.completeApps,
		Long: `List the versions of an app's variables, newest first: who changed which names when, and which releases run with a version. The
newest 20 are kept, and those that releases name.`,
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
		res, err := conn.Apps().ListEnvVersions(ctx, &gestorv1.ListEnvVersionsRequest{App: slug})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		t := output.NewTable("VERSION", "WHEN", "BY", "CHANGE", "RELEASES")
		for _, v := range res.GetVersions() {
			t.Row(strconv.FormatInt(v.GetVersion(), 10), r.out.Ago(v.GetCreatedAt()), v.GetCreatedBy(), envChange(v), strings.Join(v.GetReleases(), ", "))
		}
		r.out.Table(t, slug+" has no versions of its variables")
		return nil
	})
	return c
}

func envChange(v *gestorv1.EnvVersion) string {
	var parts []string
	if v.GetRestores() > 0 {
		parts = append(parts, "back to version "+strconv.FormatInt(v.GetRestores(), 10))
	}
	if len(v.GetSet()) > 0 {
		parts = append(parts, "set "+strings.Join(v.GetSet(), ", "))
	}
	if len(v.GetRemoved()) > 0 {
		parts = append(parts, "removed "+strings.Join(v.GetRemoved(), ", "))
	}
	return strings.Join(parts, "; ")
}

func (r *run) envDiffCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "diff V1 [V2]", Short: "Tell by name what differs between two versions", Args: cobra.RangeArgs(1, 2),
		Long: "Tell by name what differs between two versions of an app's variables; V2 is the newest by default. Values are not shown.",
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		req := &gestorv1.DiffEnvRequest{}
		var err error
		if req.From, err = versionArg(args[0]); err != nil {
			return err
		}
		if len(args) == 2 {
			if req.To, err = versionArg(args[1]); err != nil {
				return err
			}
		}
		if req.App, err = r.appName(ctx, conn, *app); err != nil {
			return err
		}
		res, err := conn.Apps().DiffEnv(ctx, req)
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showDiff(req.GetFrom(), res)
		return nil
	})
	return c
}

func (r *run) showDiff(from int64, res *gestorv1.DiffEnvResponse) {
	for _, part := range []struct {
		mark  string
		names []string
	}{{"+", res.GetAdded()}, {"-", res.GetRemoved()}, {"~", res.GetChanged()}} {
		for _, n := range part.names {
			r.out.Linef("%s %s", part.mark, n)
		}
	}
	if len(res.GetAdded())+len(res.GetRemoved())+len(res.GetChanged()) == 0 {
		r.out.Linef("versions %d and %d are the same", from, res.GetTo())
	}
}

func versionArg(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "v"), 10, 64)
	if err != nil || n <= 0 {
		return 0, fault.Invalid("", "%q is no version", text).WithFix("see gestor apps env history")
	}
	return n, nil
}

func (r *run) envRollbackCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "rollback VERSION", Short: "Make the variables of an older version the newest", Args: cobra.ExactArgs(1),
		Long: "Make the variables of an older version the newest. They take effect with the next deployment.",
	}
	app := r.appFlag(c)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		version, err := versionArg(args[0])
		if err != nil {
			return err
		}
		slug, err := r.appName(ctx, conn, *app)
		if err != nil {
			return err
		}
		res, err := conn.Apps().RollbackEnv(ctx, &gestorv1.RollbackEnvRequest{App: slug, Version: version, RequestId: requestID()})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.out.Linef("%s has the variables of version %d again, as version %d", slug, version, res.GetVersion())
		r.out.Notef("it takes effect with the next deployment: gestor deploy %s", slug)
		return nil
	})
	return c
}
