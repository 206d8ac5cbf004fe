package cmd

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) releasesCmd() *cobra.Command {
	return noun("releases", "What was deployed, and can be gone back to", []string{"release"},
		r.releasesListCmd(), r.releasesShowCmd(), r.releasesPinCmd("pin", "Keep a release from being pruned", true),
		r.releasesPinCmd("unpin", "Let a pinned release be pruned again", false))
}

func (r *run) releasesListCmd() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list [app]", Aliases: []string{"ls"}, Short: "List an app's releases, newest first", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeApps,
		RunE: r.withApp(func(ctx context.Context, conn *client.Client, app string) error {
			releases, err := releasesOf(ctx, conn, app, limit)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListReleasesResponse{Releases: releases})
			}
			t := output.NewTable("RELEASE", "STATUS", "COMMIT", "MESSAGE", "SIZE", "WHEN", "BY")
			for _, rel := range releases {
				t.Row(rel.GetName(), r.releaseStatus(rel), output.Short(rel.GetCommit()), output.Cut(output.Clean(rel.GetMessage()), 40),
					output.Bytes(rel.GetArtifactBytes()), r.out.Ago(rel.GetCreatedAt()), rel.GetCreatedBy())
			}
			r.out.Table(t, app+" has no releases yet; run: gestor deploy "+app)
			return nil
		}),
	}
	limitFlag(c, &limit)
	return c
}

func releasesOf(ctx context.Context, conn *client.Client, app string, limit int) ([]*gestorv1.Release, error) {
	service := conn.Releases()
	return collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Release, *gestorv1.PageResponse, error) {
		res, err := service.ListReleases(ctx, &gestorv1.ListReleasesRequest{App: app, Page: p})
		return res.GetReleases(), res.GetPage(), err
	})
}

func (r *run) releaseStatus(rel *gestorv1.Release) output.Styled {
	status := r.out.State(output.Enum(rel.GetStatus(), "RELEASE_STATUS_"))
	if rel.GetCurrent() {
		status += output.Styled(", ") + r.out.State("live")
	}
	if rel.GetPinned() {
		status += ", pinned"
	}
	if rel.GetReason() != "" {
		status += output.Styled(": " + output.Cut(output.Clean(rel.GetReason()), 40))
	}
	return status
}

func (r *run) releasesPinCmd(use, short string, pinned bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " [app] <release>", Short: short, Args: cobra.RangeArgs(1, 2), ValidArgsFunction: r.completeReleases,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			app, err := r.appName(ctx, conn, optional(args[:len(args)-1]))
			if err != nil {
				return err
			}
			res, err := conn.Releases().PinRelease(ctx, &gestorv1.PinReleaseRequest{App: app, Release: args[len(args)-1], Pinned: pinned})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("release %s of %s is %sned", res.GetRelease().GetName(), app, use)
			return nil
		}),
	}
}

func (r *run) releasesShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [app] <release>", Short: "Tell what is known of a release", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: r.completeReleases,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			app, err := r.appName(ctx, conn, optional(args[:len(args)-1]))
			if err != nil {
				return err
			}
			rel, err := releaseOf(ctx, conn, app, args[len(args)-1])
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(rel)
			}
			r.showRelease(rel)
			return nil
		}),
	}
}

// releaseOf finds a release by id or name.
func releaseOf(ctx context.Context, conn *client.Client, app, ref string) (*gestorv1.Release, error) {
	all, err := releasesOf(ctx, conn, app, 0)
	for _, rel := range all {
		if rel.GetId() == ref || rel.GetName() == ref {
			return rel, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fault.NotFound("%s has no release %q", app, ref).WithFix("see gestor releases list %s", app)
}

func (r *run) showRelease(rel *gestorv1.Release) {
	env := "those of the time it is deployed at"
	if rel.GetEnvVersion() > 0 {
		env = "version " + strconv.FormatInt(rel.GetEnvVersion(), 10)
	}
	t := output.NewTable("RELEASE", rel.GetName())
	t.Row("status", r.releaseStatus(rel))
	t.Row("commit", output.Clean(rel.GetCommit()))
	t.Row("message", output.Clean(rel.GetMessage()))
	t.Row("variables", env)
	t.Row("size", output.Bytes(rel.GetArtifactBytes()))
	t.Row("made", r.out.Ago(rel.GetCreatedAt())+" by "+rel.GetCreatedBy())
	t.Row("id", rel.GetId())
	r.out.Table(t, "")
}
