package auth

import gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"

// lets says what each permission lets do, in the words of the contract.
var lets = map[gestorv1.Permission]string{
	gestorv1.Permission_PERMISSION_PUBLIC:               "Nobody needs to be signed in. The method checks what it needs itself (a password, a one-use secret).",
	gestorv1.Permission_PERMISSION_MEMBER:               "Any active, signed-in member, also one who must set up a second factor first; about the caller's own account only.",
	gestorv1.Permission_PERMISSION_AGENT:                "An enrolled agent, known by its client certificate. No person holds it.",
	gestorv1.Permission_PERMISSION_USER_MANAGE:          "Manage users, their roles and invitations, and service tokens.",
	gestorv1.Permission_PERMISSION_TENANT_CONFIGURE:     "Configure the tenant: its settings, sign-in providers and protected environments.",
	gestorv1.Permission_PERMISSION_USER_READ:            "See who is in the tenant.",
	gestorv1.Permission_PERMISSION_TENANT_READ:          "See the tenant, its limits and what it uses.",
	gestorv1.Permission_PERMISSION_APP_READ:             "See apps, builds, releases, deployments, tasks and logs.",
	gestorv1.Permission_PERMISSION_APP_WRITE:            "Create and edit apps and their environment.",
	gestorv1.Permission_PERMISSION_APP_DELETE:           "Delete apps.",
	gestorv1.Permission_PERMISSION_DEPLOY:               "Build, deploy, roll back, cancel.",
	gestorv1.Permission_PERMISSION_DEPLOY_APPROVE:       "Approve deployments of others to protected environments.",
	gestorv1.Permission_PERMISSION_SECRET_REVEAL:        "Read the values of secrets.",
	gestorv1.Permission_PERMISSION_NODE_READ:            "See nodes and their facts.",
	gestorv1.Permission_PERMISSION_NODE_MANAGE:          "Add, drain and remove nodes.",
	gestorv1.Permission_PERMISSION_AUDIT_READ:           "Read the audit log.",
	gestorv1.Permission_PERMISSION_EVENT_READ:           "See events.",
	gestorv1.Permission_PERMISSION_CHANNEL_MANAGE:       "Choose who is told of which events, and how.",
	gestorv1.Permission_PERMISSION_SERVER_READ:          "See the control servers and how they are. Of operators.",
	gestorv1.Permission_PERMISSION_SERVER_MANAGE:        "Add, remove and back up control servers, choose who leads, change the key of secrets. Of operators.",
	gestorv1.Permission_PERMISSION_SERVER_DEBUG:         "Read metrics and profiles of control servers. Of operators.",
	gestorv1.Permission_PERMISSION_PLATFORM_MANAGE:      "Create, suspend and delete tenants, set their limits, make operators. Of operators.",
	gestorv1.Permission_PERMISSION_PLATFORM_AUDIT:       "Read the audit log of the whole installation. Of operators.",
	gestorv1.Permission_PERMISSION_DATABASE_MANAGE:      "Manage databases.",
	gestorv1.Permission_PERMISSION_DATABASE_USER_CREATE: "Create users of databases.",
	gestorv1.Permission_PERMISSION_FILE_UPLOAD:          "Upload files.",
	gestorv1.Permission_PERMISSION_XUI_CONFIGURE:        "Configure the connection to XUI One.",
}

// Lets is what a permission lets do, for people.
func Lets(p gestorv1.Permission) string { return lets[p] }
