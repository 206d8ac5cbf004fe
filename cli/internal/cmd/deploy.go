package cmd

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/source"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type deployOptions struct {
	watchOptions
	ref, build string
	allowBad   bool
	yes, local bool
	newApp     newAppOptions
}

func (r *run) deployCmd() *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use: "deploy [app]", Short: "Build and bring live, or bring a finished build live", Args: cobra.MaximumNArgs(1),
		Long: `Build an app and bring it live on its nodes, without a gap.

Without a name the app is the one whose repository the current directory is, told by its git remote. If there is none yet,
gestor looks into the repository, says what it found and why, proposes an app and asks.

Ctrl-C leaves the deployment to the servers. If it fails, what was live before stays live.`,
		Example: `  gestor deploy
  gestor deploy blog --ref v1.4.0
  gestor deploy blog --build 12
  gestor deploy --yes --node web1 --domain blog.example.com`,
		ValidArgsFunction: r.completeApps,
	}
	f := c.Flags()
	f.StringVar(&o.ref, "ref", "", "branch, tag or commit; the app's branch if not given")
	f.StringVar(&o.build, "build", "", "bring this finished build live, number or id")
	f.BoolVar(&o.allowBad, "allow-bad", false, "deploy even if the build's release was marked bad")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask before making a new app")
	f.BoolVar(&o.local, "local", false, "the source is this directory's repository on this host, not its remote")
	o.flags(c)
	o.newApp.flags(c, r)
	c.MarkFlagsMutuallyExclusive("ref", "build")
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		return r.deploy(ctx, conn, optional(args), o)
	})
	return c
}

func (r *run) deploy(ctx context.Context, conn *client.Client, named string, o deployOptions) error {
	app, err := r.appToDeploy(ctx, conn, named, o)
	if err != nil {
		return err
	}
	req := &gestorv1.CreateDeploymentRequest{App: app, Ref: o.ref, AllowBad: o.allowBad, RequestId: requestID()}
	if o.build != "" {
		if req.BuildId, err = r.buildID(ctx, conn, app, o.build); err != nil {
			return err
		}
	}
	res, err := conn.Deployments().CreateDeployment(ctx, req)
	if err != nil {
		return hintLocked(err, app)
	}
	return r.follow(ctx, conn, app, res.GetDeployment(), o.watchOptions)
}

// hintLocked says how to look at the deployment that is in the way.
func hintLocked(err error, app string) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.KindConflict && f.Fix == "" {
		return f.WithFix("see: gestor deployments list %s", app)
	}
	return err
}

func (r *run) buildID(ctx context.Context, conn *client.Client, app, which string) (string, error) {
	if strings.HasPrefix(which, "bld_") {
		return which, nil
	}
	if _, err := strconv.Atoi(which); err != nil {
		return "", fault.Invalid("--build", "%q is neither a build's number nor its id", which).WithFix("see: gestor builds list %s", app)
	}
	b, err := r.build(ctx, conn, []string{app, which})
	return b.GetId(), err
}

// appToDeploy is the app named, the one of the current directory, or a new one.
func (r *run) appToDeploy(ctx context.Context, conn *client.Client, named string, o deployOptions) (string, error) {
	if named != "" {
		return named, nil
	}
	repo, err := source.Find(ctx, r.env.Dir)
	if err != nil {
		return "", err
	}
	if o.local {
		repo.Remote = repo.Root
	}
	apps, err := allApps(ctx, conn)
	if err != nil {
		return "", err
	}
	found := matching(apps, repo)
	if len(found) == 0 {
		return r.newApp(ctx, conn, repo, apps, o)
	}
	app, err := choose(found, repo)
	if err != nil {
		return "", err
	}
	r.hintUnpushed(ctx, o)
	return app.GetSlug(), nil
}

// hintUnpushed says that the servers do not see commits that were not pushed.
func (r *run) hintUnpushed(ctx context.Context, o deployOptions) {
	if !r.env.ErrTerminal || o.ref != "" || o.build != "" || o.local {
		return
	}
	if n := source.Unpushed(ctx, r.env.Dir); n != "" {
		r.out.Notef("note: commits not pushed yet and not part of this: %s", n)
	}
}
