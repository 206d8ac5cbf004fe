package gestor

// Ids are text with a prefix that names the noun: "app_3q9x…", 128 random bits behind it. They are chosen by whoever
// proposes a command and are never an authorisation.
type (
	// ClusterID names an installation.
	ClusterID string
	// TenantID names a tenant.
	TenantID string
	// UserID names a user.
	UserID string
	// SessionID names a session.
	SessionID string
	// NodeID names a node.
	NodeID string
	// AppID names an app.
	AppID string
	// BuildID names a build.
	BuildID string
	// ReleaseID names a release.
	ReleaseID string
	// DeploymentID names a deployment.
	DeploymentID string
	// TaskID names a task.
	TaskID string
	// FactorID names a second factor.
	FactorID string
	// TokenID names a token of a machine.
	TokenID string
)

// Page asks for a part of a list: at most Size items after the item Token names. Size 0 means 50.
type Page struct {
	Size  int
	Token string
}
