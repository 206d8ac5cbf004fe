package gestor

import "time"

// Role is what a user is in a tenant.
type Role string

// The roles of the permission matrix.
const (
	RoleAdmin     Role = "admin"
	RoleDevOps    Role = "devops"
	RoleDeveloper Role = "developer"
	RoleViewer    Role = "viewer"
)

// User is a person in a tenant.
type User struct {
	ID           UserID
	TenantID     TenantID
	Email        string // lower case
	PasswordHash string // argon2id, PHC form
	Role         Role
	Status       string // StatusActive, StatusInactive, StatusBlocked
	CreatedAt    time.Time
	Operator     bool      // manages the installation, besides the role in the tenant
	Narrow       Narrowing // the apps the role is for
	HasFactor    bool      // whether a second factor is set up
}

// What users and tenants are.
const (
	StatusActive    = "active"    // of users and tenants
	StatusInactive  = "inactive"  // of users who do not work here any more
	StatusBlocked   = "blocked"   // of users, by an administrator
	StatusSuspended = "suspended" // of tenants: all runs on, nothing changes
	StatusCancelled = "cancelled" // of tenants: as suspended, for good
	StatusTrash     = "trash"     // of tenants: nobody signs in, gone after TrashTime
)

// Session is a signed-in user.
type Session struct {
	ID           SessionID
	UserID       UserID
	TenantID     TenantID
	TokenHash    []byte // SHA-256 of the bearer token
	CreatedAt    time.Time
	ExpiresAt    time.Time
	FreshAt      time.Time // when the user last proved who they are; CreatedAt in old states
	SeenAt       time.Time // when it was last used, to ten minutes
	SecondFactor bool      // whether a second factor was part of the sign-in
	Address      string    // network address of the sign-in
	UserAgent    string    // program of the sign-in
}

// TokenKind says whose a token is.
type TokenKind string

// The kinds of tokens.
const (
	TokenPersonal TokenKind = "personal" // a user's, with that user's rights
	TokenService  TokenKind = "service"  // a tenant's, with the rights of a role
)

// Token lets a machine in.
type Token struct {
	ID          TokenID
	TenantID    TenantID
	Kind        TokenKind
	Name        string
	UserID      UserID   // of a personal token: whose rights it has; of a service token: who made it
	Role        Role     // of a service token
	Permissions []string // names of permissions, "APP_READ"; empty: all its user or role holds, but those that need a step up
	Narrow      Narrowing
	Hash        []byte // SHA-256 of the secret
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero for never
	SeenAt      time.Time // when it was last used, to ten minutes
	SeenFrom    string    // network address of that use
	Revision    uint64
}

// Actor is who stands behind a command.
type Actor struct {
	Kind      string // "user", "token", "agent", "system"
	ID        string
	Name      string // how lists show it
	TenantID  TenantID
	SessionID SessionID
	Address   string
	UserAgent string
	Action    string  // the audit action; empty writes no entry
	TokenID   TokenID `json:",omitempty"` // of a token; ID is then its user's, if it has one
	Reference string  `json:",omitempty"` // of the request, as the logs have it
	Operator  bool    `json:",omitempty"` // acts for the installation: its commands are not kept within TenantID

	Severity AuditSeverity `json:",omitempty"` // of the audit entry when it is done; empty means AuditInfo
}

// SystemActor is the leader loop of that name.
func SystemActor(loop string) Actor { return Actor{Kind: "system", ID: loop, Name: "gestor"} }
