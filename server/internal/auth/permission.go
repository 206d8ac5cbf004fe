package auth

import (
	"slices"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// matrix is the product's table of who may do what. A permission that is not here is held by nobody.
var matrix = map[gestorv1.Permission][]gestor.Role{
	gestorv1.Permission_PERMISSION_MEMBER:           {gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer},
	gestorv1.Permission_PERMISSION_USER_MANAGE:      {gestor.RoleAdmin},
	gestorv1.Permission_PERMISSION_TENANT_CONFIGURE: {gestor.RoleAdmin},
	gestorv1.Permission_PERMISSION_APP_READ:         {gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer},
	gestorv1.Permission_PERMISSION_APP_WRITE:        {gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper},
	gestorv1.Permission_PERMISSION_APP_DELETE:       {gestor.RoleAdmin, gestor.RoleDevOps},
	gestorv1.Permission_PERMISSION_DEPLOY:           {gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper},
	gestorv1.Permission_PERMISSION_NODE_READ:        {gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer},
	gestorv1.Permission_PERMISSION_NODE_MANAGE:      {gestor.RoleAdmin, gestor.RoleDevOps},
	gestorv1.Permission_PERMISSION_AUDIT_READ:       {gestor.RoleAdmin, gestor.RoleDevOps},
	gestorv1.Permission_PERMISSION_SERVER_READ:      {gestor.RoleAdmin, gestor.RoleDevOps},
	gestorv1.Permission_PERMISSION_SERVER_MANAGE:    {gestor.RoleAdmin},
	gestorv1.Permission_PERMISSION_SERVER_DEBUG:     {gestor.RoleAdmin},
}

// Holds reports whether a role holds a permission.
func Holds(r gestor.Role, p gestorv1.Permission) bool { return slices.Contains(matrix[p], r) }

// Permissions are what a role holds, in the order of their numbers.
func Permissions(r gestor.Role) []gestorv1.Permission {
	var held []gestorv1.Permission
	for p, roles := range matrix {
		if slices.Contains(roles, r) {
			held = append(held, p)
		}
	}
	slices.Sort(held)
	return held
}
