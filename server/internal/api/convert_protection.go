package api

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

func protectionIn(p *gestorv1.Protection) gestor.Protection {
	return gestor.Protection{
		Environment:           environmentName(p.GetEnvironment()),
		RequireApproval:       p.GetRequireApproval(),
		Approvals:             int(p.GetApprovals()),
		RollbackNeedsApproval: p.GetRollbackNeedsApproval(),
		Freezes:               command.DecodeFreezes(p.GetFreezes()),
	}
}

func protectionOut(p gestor.Protection) *gestorv1.Protection {
	return &gestorv1.Protection{
		Environment:           command.EncodeSettings(gestor.AppSettings{Environment: p.Environment}).GetEnvironment(),
		RequireApproval:       p.RequireApproval,
		Approvals:             int32(max(p.Approvals, 1)),
		RollbackNeedsApproval: p.RollbackNeedsApproval,
		Freezes:               command.EncodeFreezes(p.Freezes),
		UpdatedBy:             p.UpdatedBy,
		UpdatedAt:             timeOut(p.UpdatedAt),
		Revision:              p.Revision,
	}
}

// environmentName is how the state spells an environment; empty for none.
func environmentName(e gestorv1.Environment) string {
	return command.DecodeSettings(&gestorv1.AppSettings{Environment: e}).Environment
}

// holdOut converts what the protection of its environment asks of a deployment; nil if that is nothing.
func holdOut(c protect.Case, h protect.Hold, mayApprove bool) *gestorv1.Hold {
	d := c.Deployment
	if c.Needed() == 0 && !h.Waits() && d.Override.By == "" {
		return nil
	}
	out := &gestorv1.Hold{
		Needed: int32(c.Needed()), AskedAt: timeOut(d.ApprovalAskedAt), ExpiresAt: timeOut(c.Expires()),
		OverrideBy: d.Override.By, OverrideReason: d.Override.Reason, YouMayApprove: mayApprove,
	}
	for _, p := range c.Protections {
		out.Environments = append(out.Environments, p.Environment)
	}
	for _, r := range gestor.Approvers() {
		out.Roles = append(out.Roles, string(r))
	}
	for _, a := range c.Approvals {
		out.Approvals = append(out.Approvals, &gestorv1.Approval{
			UserId: string(a.UserID), By: a.Name, TokenId: string(a.TokenID), At: timeOut(a.At), Comment: a.Comment,
		})
	}
	if f := h.Freeze; f.Name != "" {
		out.Freeze = &gestorv1.FreezeHold{
			Environment: f.Environment, Name: f.Name, Reason: f.Reason, Until: timeOut(f.Until), TimeZone: f.TimeZone,
		}
	}
	return out
}
