package fsm

import (
	"crypto/subtle"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) initCluster(op command.InitCluster) error {
	c.about(string(op.Cluster.ID), nil)
	exists := fault.Exists("the installation has its identity already")
	if err := unless(second(c.Cluster(c.ctx)), exists); err != nil {
		return err
	}
	cluster := op.Cluster
	cluster.Claimed = false
	if cluster.FirstUID == 0 {
		cluster.FirstUID = gestor.DefaultFirstUID
	}
	return errors.Join(c.RaiseLevel(c.ctx, op.Level), c.PutCluster(c.ctx, cluster), c.SetNextUID(c.ctx, cluster.FirstUID))
}

func (c *change) claim(op command.Claim) error {
	c.tenant = op.TenantID
	c.about(string(op.TenantID), map[string]any{"email": op.Email})
	cluster, err := c.Cluster(c.ctx)
	if errors.Is(err, fault.KindNotFound) {
		return fault.Unavailable("the server is still starting for the first time")
	}
	if err != nil {
		return err
	}
	if cluster.Claimed {
		return fault.Conflict("the installation has been claimed already").WithFix("sign in with its admin's address")
	}
	if subtle.ConstantTimeCompare(cluster.SetupHash, op.SetupHash) != 1 {
		return fault.Unauthenticated("the setup token is wrong").WithFix("use the one the server printed at its first start")
	}
	cluster.Claimed, cluster.SetupHash = true, nil
	return errors.Join(
		c.PutCluster(c.ctx, cluster),
		c.PutTenant(c.ctx, gestor.Tenant{
			ID:        op.TenantID,
			Name:      op.TenantName,
			Plan:      c.firstPlan(),
			Status:    gestor.StatusActive,
			CreatedAt: c.at,
		}),
		c.PutUser(c.ctx, gestor.User{
			ID:           op.UserID,
			TenantID:     op.TenantID,
			Email:        op.Email,
			PasswordHash: op.PasswordHash,
			Role:         gestor.RoleAdmin,
			Status:       gestor.StatusActive,
			CreatedAt:    c.at,
			Operator:     true,

			PasswordSetAt: c.at,
		}),
	)
}

// firstPlan is the plan of the tenant that the installation belongs to: it has no limits but those it gives itself.
func (c *change) firstPlan() string {
	if c.atLeast(2) {
		return gestor.PlanEnterprise
	}
	return gestor.PlanFree
}

func (c *change) prune(op command.Prune) error {
	return errors.Join(
		c.PruneTasks(c.ctx, op.Before),
		c.PruneRequests(c.ctx, op.Before),
		c.PruneSessions(c.ctx, op.Before),
		c.PruneJoinTokens(c.ctx, op.Before),
		c.PruneServerTokens(c.ctx, op.Before),
		c.pruneEvents(),
		c.pruneIdle(),
		c.prunePeople(op),
	)
}
