package gestor

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
)

// The plans. What each gives is in plans.
const (
	PlanFree       = "free"
	PlanBasic      = "basic"
	PlanPro        = "pro"
	PlanEnterprise = "enterprise"
)

// Unlimited is an amount that is not bounded.
const Unlimited = -1

const gib = 1 << 30

// PlanQuotas are what a plan gives; no plan of that name gives nothing.
func PlanQuotas(plan string) (Quotas, bool) {
	switch plan {
	case PlanFree:
		return Quotas{Apps: 3, Databases: 1, StorageBytes: gib}, true
	case PlanBasic:
		return Quotas{Apps: 10, Databases: 5, StorageBytes: 20 * gib}, true
	case PlanPro:
		return Quotas{Apps: 50, Databases: 25, StorageBytes: 200 * gib}, true
	case PlanEnterprise:
		return Quotas{Apps: Unlimited, Databases: Unlimited, StorageBytes: Unlimited}, true
	}
	return Quotas{}, false
}

// CheckPlan checks the name of a plan.
func CheckPlan(field, plan string) error {
	if _, ok := PlanQuotas(plan); ok {
		return nil
	}
	return fault.Invalid(field, "%s is no plan", quote(plan)).WithFix("use free, basic, pro or enterprise")
}

// Limits are what a tenant may have: its quotas, where they are set, and what its plan gives where they are not. A
// negative amount is not bounded.
func (t Tenant) Limits() Quotas {
	given, _ := PlanQuotas(t.Plan)
	return Quotas{
		Apps:         bounded(cmp.Or(t.Quotas.Apps, given.Apps)),
		Databases:    bounded(cmp.Or(t.Quotas.Databases, given.Databases)),
		StorageBytes: bounded(cmp.Or(t.Quotas.StorageBytes, given.StorageBytes)),
	}
}

func bounded(n int64) int64 { return max(n, Unlimited) }

// Resource is something of which a tenant may have so much.
type Resource string

// What is limited.
const (
	ResourceApps      Resource = "apps"
	ResourceDatabases Resource = "databases"
	ResourceStorage   Resource = "storage"
)

// Of is the amount of a resource.
func (q Quotas) Of(r Resource) int64 {
	switch r {
	case ResourceApps:
		return q.Apps
	case ResourceDatabases:
		return q.Databases
	case ResourceStorage:
		return q.StorageBytes
	}
	return 0
}

// Fits refuses more of a resource than the tenant may have. The refusal names the limit and what is used.
func (t Tenant) Fits(r Resource, used, more int64) error {
	limit := t.Limits().Of(r)
	if limit < 0 || more <= 0 || used <= limit-more {
		return nil
	}
	const fix = "delete what is not needed any more, or ask an operator for a larger plan or quota: gestor tenants show"
	if r == ResourceStorage {
		return fault.Conflict("the tenant %s may store %s and uses %s, so %s more do not fit", t.Name, size(limit), size(used), size(more)).WithFix(fix)
	}
	return fault.Conflict("the tenant %s may have %d %s and has %d", t.Name, limit, r, used).WithFix(fix)
}

// size is a number of bytes for people.
func size(bytes int64) string {
	unit, n := 0, float64(bytes)
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n >= 1024 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", n, units[unit])
}

// What may become of a tenant that is in each status; the trash is left by being restored only.
func tenantTurns(from string) []string {
	switch from {
	case StatusActive:
		return []string{StatusSuspended, StatusCancelled, StatusTrash}
	case StatusSuspended:
		return []string{StatusActive, StatusCancelled, StatusTrash}
	case StatusCancelled:
		return []string{StatusActive, StatusTrash}
	}
	return nil
}

// CanBecome refuses a status that a tenant cannot come to from the one it has.
func (t Tenant) CanBecome(status string) error {
	if slices.Contains(tenantTurns(t.Status), status) {
		return nil
	}
	switch t.Status {
	case StatusTrash:
		return fault.Conflict("the tenant %s is in the trash", t.Name).WithFix("restore it first: gestor tenants restore %s", t.ID)
	case status:
		return fault.Conflict("the tenant %s is %s already", t.Name, status)
	}
	return fault.Conflict("the tenant %s is %s and cannot become %s", t.Name, t.Status, status)
}

// MayChange refuses changes in a tenant that is not active.
func (t Tenant) MayChange() error {
	if t.Status == StatusActive {
		return nil
	}
	why := ""
	if t.Reason != "" {
		why = " (" + t.Reason + ")"
	}
	state := t.Status
	if t.Status == StatusTrash {
		state = "deleted"
	}
	return fault.Denied("the tenant %s is %s%s: what runs goes on, and nothing can be changed", t.Name, state, why).
		WithFix("ask an operator of this installation")
}
