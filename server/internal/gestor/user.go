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
	Status       string // "active", "inactive", "blocked"
	CreatedAt    time.Time
}

// Session is a signed-in user.
type Session struct {
	ID        SessionID
	UserID    UserID
	TenantID  TenantID
	TokenHash []byte // SHA-256 of the bearer token
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Actor is who stands behind a command.
type Actor struct {
	Kind      string // "user", "agent", "system"
	ID        string
	Name      string // how lists show it
	TenantID  TenantID
	SessionID SessionID
	Address   string
	UserAgent string
	Action    string // the audit action; empty writes no entry
}

// SystemActor is the leader loop of that name.
func SystemActor(loop string) Actor { return Actor{Kind: "system", ID: loop, Name: "gestor"} }
