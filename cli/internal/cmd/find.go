package cmd

import (
	"context"
	"strings"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/source"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// appName is the app a command is about: the one named, or the one whose repository the current directory is.
// A name costs no call.
func (r *run) appName(ctx context.Context, conn *client.Client, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	repo, err := source.Find(ctx, r.env.Dir)
	if err != nil {
		return "", err
	}
	apps, err := allApps(ctx, conn)
	if err != nil {
		return "", err
	}
	app, err := choose(matching(apps, repo), repo)
	if err != nil {
		return "", err
	}
	return app.GetSlug(), nil
}

func allApps(ctx context.Context, conn *client.Client) ([]*gestorv1.App, error) {
	service := conn.Apps()
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.App, *gestorv1.PageResponse, error) {
		res, err := service.ListApps(ctx, &gestorv1.ListAppsRequest{Page: p})
		return res.GetApps(), res.GetPage(), err
	})
}

// matching are the apps that come from the repository, by its remote or by its path on this host.
func matching(apps []*gestorv1.App, repo source.Repository) []*gestorv1.App {
	var found []*gestorv1.App
	for _, a := range apps {
		address := a.GetSettings().GetRepository()
		if source.Same(address, repo.Remote) || source.Same(address, repo.Root) {
			found = append(found, a)
		}
	}
	return found
}

func choose(found []*gestorv1.App, repo source.Repository) (*gestorv1.App, error) {
	switch len(found) {
	case 0:
		return nil, fault.NotFound("no app comes from %s", origin(repo)).WithFix("name the app, or run gestor deploy to make one")
	case 1:
		return found[0], nil
	}
	var slugs []string
	for _, a := range found {
		slugs = append(slugs, a.GetSlug())
	}
	return nil, fault.Invalid("app", "several apps come from %s: %s", origin(repo), strings.Join(slugs, ", ")).
		WithFix("name one of them")
}

func origin(repo source.Repository) string {
	if repo.Remote != "" {
		return repo.Remote
	}
	return repo.Root
}
