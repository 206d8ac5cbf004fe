package gestor

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Role is what a user is in a tenant.
type Role string

// The roles of the permission matrix.
const (
	RoleAdmin     Role = "admin"
	RoleDevOps    Role = "devops"
	RoleDeveloper Role = "developer"
	RoleViewer    Role = "viewer"
)

// roleOrder are the roles, each with all that those behind it have.
var roleOrder = []Role{RoleAdmin, RoleDevOps, RoleDeveloper, RoleViewer}

// IsKnown reports whether r is a role.
func (r Role) IsKnown() bool { return slices.Contains(roleOrder, r) }

// Includes reports whether r has all that other has.
func (r Role) Includes(other Role) bool {
	return r.IsKnown() && other.IsKnown() && slices.Index(roleOrder, r) <= slices.Index(roleOrder, other)
}

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
	Networks     []string  // they have signed in from, the latest last; at most MostNetworks

	Name            string    // how lists show the person, in the form of CheckTitle; may be empty
	EmailVerifiedAt time.Time // when they proved that the address is theirs; zero if they have not
	PasswordSetAt   time.Time // when they chose the password
	ResetAt         time.Time // when an administrator last made a link for a new one
}

// Stamp stands for a person's credentials as they are: links that were made for others are worth nothing.
func (u User) Stamp() []byte {
	h := sha256.New()
	for _, part := range []string{string(u.ID), u.Email, u.PasswordHash, strconv.FormatInt(u.ResetAt.UnixNano(), 10)} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // never fails: see hash.Hash
	}
	return h.Sum(nil)
}

// IsFullAdmin reports whether u can give everything in the tenant back: an administrator who may sign in and sees it all.
func (u User) IsFullAdmin() bool {
	return u.Role == RoleAdmin && u.Status == StatusActive && u.Narrow.IsZero()
}

// IsActiveOperator reports whether u manages the installation and may sign in.
func (u User) IsActiveOperator() bool { return u.Operator && u.Status == StatusActive }

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
	SeenFrom     string    // network address of the last use
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
