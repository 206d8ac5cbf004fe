package api

import (
	"context"
	"slices"
	"strings"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// PermissionService tells who may do what, as the contract and the matrix declare it.
type PermissionService struct{}

var _ gestorv1connect.PermissionServiceHandler = (*PermissionService)(nil)

// NewPermissionService makes the service.
func NewPermissionService() *PermissionService { return &PermissionService{} }

// GetPermissions returns the whole table, and what of it the caller holds.
func (s *PermissionService) GetPermissions(ctx context.Context, _ *gestorv1.GetPermissionsRequest) (*gestorv1.GetPermissionsResponse, error) {
	caller, _ := auth.CallerFrom(ctx)
	policy, err := NewPolicy(Contract()...)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.GetPermissionsResponse{}
	for _, p := range auth.All() {
		out.Permissions = append(out.Permissions, permissionOut(p, policy, caller))
	}
	return out, nil
}

func permissionOut(p gestorv1.Permission, policy Policy, caller auth.Caller) *gestorv1.PermissionEntry {
	holders, _ := auth.HoldersOf(p)
	e := &gestorv1.PermissionEntry{
		Name: auth.Name(p), Description: auth.Lets(p), Operator: holders.Operator, Yours: caller.May(p), Methods: methodsOut(p, policy),
		Anybody: p == gestorv1.Permission_PERMISSION_PUBLIC, Agents: p == gestorv1.Permission_PERMISSION_AGENT,
	}
	for _, r := range holders.Roles {
		e.Roles = append(e.Roles, string(r))
	}
	return e
}

// methodsOut are the calls that a permission is for, by name.
func methodsOut(p gestorv1.Permission, policy Policy) []*gestorv1.PermissionMethod {
	var out []*gestorv1.PermissionMethod
	for procedure, access := range policy {
		if access.GetPermission() == p {
			out = append(out, &gestorv1.PermissionMethod{
				Name: shortProcedure(procedure), Audit: access.GetAudit(), StepUp: access.GetStepUp(), Suspended: access.GetSuspended(),
			})
		}
	}
	slices.SortFunc(out, func(a, b *gestorv1.PermissionMethod) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// shortProcedure is "AppService/GetApp" of "/gestor.v1.AppService/GetApp".
func shortProcedure(procedure string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service[strings.LastIndex(service, ".")+1:] + "/" + method
}
