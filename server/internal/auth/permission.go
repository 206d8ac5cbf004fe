package auth

import (
	"maps"
	"slices"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Holders say who holds a permission. A permission without any is held by nobody.
type Holders struct {
	Roles    []gestor.Role // in their tenant
	Operator bool          // operators of the installation
}

var (
	everyone   = []gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer}
	builders   = []gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper}
	operations = []gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps}
	admins     = []gestor.Role{gestor.RoleAdmin}
)

// matrix is the product's table of who may do what. A permission that is not here keeps a server from starting.
var matrix = map[gestorv1.Permission]Holders{
	gestorv1.Permission_PERMISSION_PUBLIC:               {},
	gestorv1.Permission_PERMISSION_AGENT:                {},
	gestorv1.Permission_PERMISSION_MEMBER:               {Roles: everyone},
	gestorv1.Permission_PERMISSION_USER_MANAGE:          {Roles: admins},
	gestorv1.Permission_PERMISSION_TENANT_CONFIGURE:     {Roles: admins},
	gestorv1.Permission_PERMISSION_USER_READ:            {Roles: operations},
	gestorv1.Permission_PERMISSION_TENANT_READ:          {Roles: everyone},
	gestorv1.Permission_PERMISSION_APP_READ:             {Roles: everyone},
	gestorv1.Permission_PERMISSION_APP_WRITE:            {Roles: builders},
	gestorv1.Permission_PERMISSION_APP_DELETE:           {Roles: operations},
	gestorv1.Permission_PERMISSION_DEPLOY:               {Roles: builders},
	gestorv1.Permission_PERMISSION_DEPLOY_APPROVE:       {Roles: operations},
	gestorv1.Permission_PERMISSION_SECRET_REVEAL:        {Roles: operations},
	gestorv1.Permission_PERMISSION_NODE_READ:            {Roles: everyone},
	gestorv1.Permission_PERMISSION_NODE_MANAGE:          {Roles: operations},
	gestorv1.Permission_PERMISSION_AUDIT_READ:           {Roles: operations},
	gestorv1.Permission_PERMISSION_EVENT_READ:           {Roles: everyone},
	gestorv1.Permission_PERMISSION_CHANNEL_MANAGE:       {Roles: operations},
	gestorv1.Permission_PERMISSION_SERVER_READ:          {Operator: true},
	gestorv1.Permission_PERMISSION_SERVER_MANAGE:        {Operator: true},
	gestorv1.Permission_PERMISSION_SERVER_DEBUG:         {Operator: true},
	gestorv1.Permission_PERMISSION_PLATFORM_MANAGE:      {Operator: true},
	gestorv1.Permission_PERMISSION_PLATFORM_AUDIT:       {Operator: true},
	gestorv1.Permission_PERMISSION_DATABASE_MANAGE:      {Roles: operations},
	gestorv1.Permission_PERMISSION_DATABASE_USER_CREATE: {Roles: operations},
	gestorv1.Permission_PERMISSION_FILE_UPLOAD:          {Roles: builders},
	gestorv1.Permission_PERMISSION_XUI_CONFIGURE:        {Roles: admins},
}

// HoldersOf says who holds a permission; false if the matrix does not know it.
func HoldersOf(p gestorv1.Permission) (Holders, bool) {
	h, ok := matrix[p]
	return h, ok
}

// Permissions are what a role holds, and an operator besides, in the order of their numbers.
func Permissions(r gestor.Role, operator bool) []gestorv1.Permission {
	var held []gestorv1.Permission
	for p, h := range matrix {
		if slices.Contains(h.Roles, r) || operator && h.Operator {
			held = append(held, p)
		}
	}
	slices.Sort(held)
	return held
}

// All are the permissions of the matrix, in the order of their numbers.
func All() []gestorv1.Permission { return slices.Sorted(maps.Keys(matrix)) }
