package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) appsCmd() *cobra.Command {
	return noun("apps", "The applications", []string{"app"},
		r.appsCreateCmd(), r.appsListCmd(), r.appsShowCmd(), r.appsSetCmd(), r.appsDeleteCmd(), r.envCmd())
}

func (r *run) appsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the apps", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			apps, err := allApps(ctx, conn)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListAppsResponse{Apps: apps})
			}
			t := output.NewTable("APP", "STATUS", "CHANGED", "NODES", "ADDRESS", "REPOSITORY")
			for _, a := range apps {
				s := a.GetSettings()
				t.Row(a.GetSlug(), r.appStatus(a), r.out.Ago(a.GetUpdatedAt()), strings.Join(s.GetNodes(), " "),
					strings.Join(a.GetAddresses(), " "), s.GetRepository())
			}
			r.out.Table(t, "no app yet; run gestor deploy in a repository")
			return nil
		}),
	}
}

func (r *run) appStatus(a *gestorv1.App) output.Styled {
	return r.out.State(output.Enum(a.GetStatus(), "APP_STATUS_"))
}

func (r *run) appsShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [app]", Short: "Show an app and its settings", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeApps,
		RunE: r.withApp(func(ctx context.Context, conn *client.Client, app string) error {
			res, err := conn.Apps().GetApp(ctx, &gestorv1.GetAppRequest{App: app})
			if err != nil {
				return err
			}
			return r.showApp(res.GetApp())
		}),
	}
}

func (r *run) showApp(a *gestorv1.App) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetAppResponse{App: a})
	}
	s := a.GetSettings()
	fields := [][2]any{
		{"app", a.GetSlug()},
		{"name", s.GetName()},
		{"id", a.GetId()},
		{"status", r.appStatus(a)},
		{"addresses", strings.Join(a.GetAddresses(), " ")},
		{"live release", a.GetCurrentRelease()},
		{"deploying", a.GetActiveDeploymentId()},
		{"created", r.out.Ago(a.GetCreatedAt())},
		{"changed", r.out.Ago(a.GetUpdatedAt())},
	}
	fields = append(fields, settingsFields(s)...)
	r.out.Fields(append(fields, [2]any{"deploy key", a.GetDeployKey()})...)
	return nil
}

// settingsFields lists what is set, under the names of the flags of apps set.
func settingsFields(s *gestorv1.AppSettings) [][2]any {
	fields := [][2]any{
		{"repository", s.GetRepository()},
		{"branch", s.GetBranch()},
		{"type", output.Enum(s.GetType(), "APP_TYPE_")},
		{"environment", output.Enum(s.GetEnvironment(), "ENVIRONMENT_")},
		{"domain", strings.Join(s.GetDomains(), " ")},
		{"port", number(int(s.GetPort()))},
		{"node", strings.Join(s.GetNodes(), " ")},
		{"root", s.GetRoot()},
		{"build-command", s.GetBuildCommand()},
		{"start-command", s.GetStartCommand()},
		{"output", s.GetOutput()},
		{"health-path", s.GetHealthPath()},
		{"health-timeout", output.Span(s.GetHealthTimeout())},
		{"watch", output.Span(s.GetWatch())},
		{"drain", output.Span(s.GetDrain())},
		{"keep", number(int(s.GetKeep()))},
		{"shared", strings.Join(s.GetShared(), " ")},
		{"submodules", set(s.GetSubmodules())},
		{"lfs", set(s.GetLfs())},
		{"pre-switch", s.GetPreSwitch()},
		{"post-switch", s.GetPostSwitch()},
		{"known-hosts", s.GetKnownHosts()},
	}
	fields = append(fields, limitFields("", s.GetLimits())...)
	return append(fields, limitFields("build-", s.GetBuildLimits())...)
}

func set(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func (r *run) appsCreateCmd() *cobra.Command {
	var f settingsFlags
	c := &cobra.Command{
		Use: "create <slug>", Short: "Make an app; nothing runs until its first deployment",
		Example: `  gestor apps create blog --repository git@github.com:ana/blog.git --node web1 --domain blog.example.com`,
		Args:    cobra.ExactArgs(1),
	}
	f.register(c, r)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		settings := &gestorv1.AppSettings{}
		if err := f.apply(settings); err != nil {
			return err
		}
		if settings.GetRepository() == "" {
			return usage(c, "--repository says where the source is and is needed")
		}
		res, err := conn.Apps().CreateApp(ctx, &gestorv1.CreateAppRequest{Slug: args[0], Settings: settings, RequestId: requestID()})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.out.Linef("created app %s", res.GetApp().GetSlug())
		r.hintDeployKey(res.GetApp())
		r.out.Notef("next: gestor deploy %s", res.GetApp().GetSlug())
		return nil
	})
	return c
}

// hintDeployKey shows the key that a private repository must know.
func (r *run) hintDeployKey(a *gestorv1.App) {
	if a.GetDeployKey() == "" || strings.HasPrefix(a.GetSettings().GetRepository(), "/") {
		return
	}
	r.out.Notef("if the repository is private, add this deploy key to it, read-only:")
	r.out.Notef("  %s", a.GetDeployKey())
}

func (r *run) appsSetCmd() *cobra.Command {
	var f settingsFlags
	c := &cobra.Command{
		Use: "set [app]", Short: "Change settings of an app; they take effect with its next deployment",
		Long: `Change the settings that are given and leave the others. An empty value goes back to the default. A change that
somebody else made meanwhile is not overwritten.`,
		Example: `  gestor apps set blog --domain blog.example.com --health-path /up
  gestor apps set blog --memory 512M --watch 30s`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.completeApps,
	}
	f.register(c, r)
	c.RunE = r.withApp(func(ctx context.Context, conn *client.Client, app string) error {
		if !f.any() {
			return usage(c, "no setting was given")
		}
		got, err := conn.Apps().GetApp(ctx, &gestorv1.GetAppRequest{App: app})
		if err != nil {
			return err
		}
		settings := got.GetApp().GetSettings()
		if settings == nil {
			settings = &gestorv1.AppSettings{}
		}
		if err := f.apply(settings); err != nil {
			return err
		}
		res, err := conn.Apps().UpdateApp(ctx, &gestorv1.UpdateAppRequest{
			App: app, Settings: settings, ExpectedRevision: got.GetApp().GetRevision(), RequestId: requestID(),
		})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.out.Linef("changed %s: %s", app, strings.Join(f.changed(), ", "))
		r.out.Notef("it takes effect with the next deployment: gestor deploy %s", app)
		return nil
	})
	return c
}

func (r *run) appsDeleteCmd() *cobra.Command {
	var yes, purge bool
	c := &cobra.Command{
		Use: "delete <app>", Short: "Stop an app on its nodes and remove it", Args: cobra.ExactArgs(1),
		Long:              "Stop an app on its nodes and remove it. Its shared directory (uploads, logs) stays on the hosts unless --purge is given.",
		ValidArgsFunction: r.completeApps,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			what := "The app stops on all its nodes; its releases are removed, its shared directory stays."
			if purge {
				what = "The app stops on all its nodes; its releases AND ITS SHARED DIRECTORY are removed."
			}
			if err := r.confirmName(args[0], what, yes); err != nil {
				return err
			}
			res, err := conn.Apps().DeleteApp(ctx, &gestorv1.DeleteAppRequest{App: args[0], Purge: purge, RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("%s is being removed", args[0])
			for _, id := range res.GetTaskIds() {
				r.out.Notef("watch: gestor tasks watch %s", id)
			}
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&purge, "purge", false, "also delete the shared directory on the hosts")
	return c
}
