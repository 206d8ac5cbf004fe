package api

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var tenantStatuses = map[string]gestorv1.TenantStatus{
	gestor.StatusActive:    gestorv1.TenantStatus_TENANT_STATUS_ACTIVE,
	gestor.StatusSuspended: gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED,
	gestor.StatusCancelled: gestorv1.TenantStatus_TENANT_STATUS_CANCELLED,
	gestor.StatusTrash:     gestorv1.TenantStatus_TENANT_STATUS_TRASH,
}

var tenantPlans = map[string]gestorv1.TenantPlan{
	gestor.PlanFree:       gestorv1.TenantPlan_TENANT_PLAN_FREE,
	gestor.PlanBasic:      gestorv1.TenantPlan_TENANT_PLAN_BASIC,
	gestor.PlanPro:        gestorv1.TenantPlan_TENANT_PLAN_PRO,
	gestor.PlanEnterprise: gestorv1.TenantPlan_TENANT_PLAN_ENTERPRISE,
}

// tenantPlanIn is the name of a plan; empty if none was set.
func tenantPlanIn(p gestorv1.TenantPlan) string {
	for name, number := range tenantPlans {
		if number == p {
			return name
		}
	}
	return ""
}

// tenantOut converts a tenant with what it uses.
func tenantOut(t gestor.Tenant, used gestor.Quotas) *gestorv1.Tenant {
	out := &gestorv1.Tenant{
		Id:           string(t.ID),
		Name:         t.Name,
		Plan:         tenantPlans[t.Plan],
		Status:       tenantStatuses[t.Status],
		Reason:       t.Reason,
		CreatedAt:    timeOut(t.CreatedAt),
		Quotas:       quotasOut(t.Quotas),
		Limits:       quotasOut(t.Limits()),
		Used:         quotasOut(used),
		SecondFactor: t.SecondFactor,
		TrashedAt:    timeOut(t.TrashedAt),
	}
	if !t.TrashedAt.IsZero() {
		out.PurgeAt = timeOut(t.TrashedAt.Add(gestor.TrashTime))
	}
	return out
}

func quotasOut(q gestor.Quotas) *gestorv1.TenantQuotas {
	return &gestorv1.TenantQuotas{Apps: q.Apps, Databases: q.Databases, StorageBytes: q.StorageBytes}
}

// quotasIn reads quotas; every negative amount is no limit.
func quotasIn(q *gestorv1.TenantQuotas) gestor.Quotas {
	return gestor.Quotas{
		Apps:         max(q.GetApps(), gestor.Unlimited),
		Databases:    max(q.GetDatabases(), gestor.Unlimited),
		StorageBytes: max(q.GetStorageBytes(), gestor.Unlimited),
	}
}

const maxReason = 500

// checkReason checks what an operator says to a tenant's people, one line of text, and returns it without space around it.
func checkReason(field, s string) (string, error) {
	s = strings.TrimSpace(s)
	if n := utf8.RuneCountInString(s); n > maxReason {
		return "", fault.Invalid(field, "it has %d characters, %d are allowed", n, maxReason)
	}
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if strings.ContainsFunc(s, hidden) {
		return "", fault.Invalid(field, "it holds a character that cannot be seen").WithFix("write one line of plain text")
	}
	return s, nil
}
