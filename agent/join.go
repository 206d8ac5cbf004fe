package agent

import (
	"context"

	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/agent/internal/identity"
	"github.com/saas-gestor/gestor/agent/internal/metric"
)

// Join makes this host a node of the cluster that made the token, and returns the name it got there.
func Join(ctx context.Context, c config.Config, server, token, version string) (string, error) {
	parsed, err := identity.ParseToken(token)
	if err != nil {
		return "", err
	}
	lock, err := lockDir(c.DataDir)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	facts := metric.NewFacts(metric.FactsOptions{Version: version, DeployRoot: c.DeployRoot})
	i, err := IdentityDir(c).Join(ctx, identity.JoinRequest{
		Server: server, Token: parsed, Facts: facts.Get(ctx), Version: version,
	})
	return i.NodeName, err
}
