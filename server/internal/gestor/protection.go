package gestor

import (
	"fmt"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Protection is what deployments to an environment of a tenant need before they may switch.
type Protection struct {
	TenantID              TenantID
	Environment           string
	RequireApproval       bool
	Approvals             int  // how many people must approve, 1 to 3; kept while approval is not required
	RollbackNeedsApproval bool // whether going back to what was live waits too, for approvals and freezes
	Freezes               []Freeze
	UpdatedBy             string
	UpdatedAt             time.Time
	Revision              uint64 // 0 if nobody has ever set it
}

// IsZero reports whether nothing is protected.
func (p Protection) IsZero() bool { return !p.RequireApproval && len(p.Freezes) == 0 }

// Needed is how many people must approve.
func (p Protection) Needed() int {
	if !p.RequireApproval {
		return 0
	}
	return max(p.Approvals, 1)
}

// ApprovalTime is how long a deployment waits for approvals before it is cancelled.
const ApprovalTime = 7 * 24 * time.Hour

// Environments are all there are, the least precious first.
func Environments() []string {
	return []string{EnvironmentDevelopment, EnvironmentStaging, EnvironmentProduction}
}

// Bounds of a protection.
const (
	maxApprovals = 3
	maxFreezes   = 50
)

// Validate checks p and returns the form to keep.
func (p Protection) Validate() (Protection, error) {
	if !slices.Contains(Environments(), p.Environment) {
		return p, fault.Invalid("protection.environment", "there is no environment %s", quote(p.Environment)).
			WithFix("use development, staging or production")
	}
	if p.Approvals == 0 {
		p.Approvals = 1
	}
	if p.Approvals < 1 || p.Approvals > maxApprovals {
		return p, fault.Invalid("protection.approvals", "%d people are to approve", p.Approvals).WithFix("use 1 to %d", maxApprovals)
	}
	if len(p.Freezes) > maxFreezes {
		return p, fault.Invalid("protection.freezes", "there are %d freezes, %d are allowed", len(p.Freezes), maxFreezes).
			WithFix("remove those that are over")
	}
	p.Freezes = slices.Clone(p.Freezes)
	names := map[string]bool{}
	for i, f := range p.Freezes {
		at := fmt.Sprintf("protection.freezes[%d]", i)
		f, err := f.Validate(at)
		if err != nil {
			return p, err
		}
		if names[f.Name] {
			return p, fault.Invalid(at+".name", "two freezes are called %s", quote(f.Name)).WithFix("give one of them another name")
		}
		names[f.Name], p.Freezes[i] = true, f
	}
	return p, nil
}

// Approval is a person's word that a deployment may switch.
type Approval struct {
	DeploymentID DeploymentID
	UserID       UserID // the person: of a token, whoever made it
	TenantID     TenantID
	AppID        AppID
	Name         string  // how lists show the person
	TokenID      TokenID // it was given with; empty for a session
	At           time.Time
	Comment      string
	What         string // what was approved, as Deployment.What is at that time; another one voids it
	Revision     uint64
}

// Override lets a deployment switch during a freeze. The zero Override lets nothing.
type Override struct {
	UserID UserID    `json:",omitempty"`
	By     string    `json:",omitempty"` // how lists show them
	Reason string    `json:",omitempty"`
	At     time.Time `json:",omitzero"`
}

// Approves reports whether people of a role may approve deployments of others. The permission DEPLOY_APPROVE is theirs in
// the matrix too; the state machine asks here, because what it does at a level never changes.
func (r Role) Approves() bool { return r == RoleAdmin || r == RoleDevOps }

// Approvers are the roles that approve.
func Approvers() []Role { return []Role{RoleAdmin, RoleDevOps} }

// Audited shows all of it.
func (p Protection) Audited() map[string]any {
	freezes := make([]string, 0, len(p.Freezes))
	for _, f := range p.Freezes {
		freezes = append(freezes, f.String())
	}
	return map[string]any{
		"environment": p.Environment, "require_approval": p.RequireApproval, "approvals": p.Approvals,
		"rollback_needs_approval": p.RollbackNeedsApproval, "freezes": freezes,
	}
}

// CheckRemark checks what a person says of a change: one line of text.
func CheckRemark(field, s string) error {
	return firstError(checkLength(field, s, 500), checkText(field, s, ""))
}
