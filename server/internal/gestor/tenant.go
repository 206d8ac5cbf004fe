package gestor

import "time"

// Tenant is a customer of the installation.
type Tenant struct {
	ID        TenantID
	Name      string
	Plan      string // "free", "basic", "pro", "enterprise"
	Status    string // "active", "suspended", "cancelled"
	CreatedAt time.Time
}

// Cluster is the identity of the installation.
type Cluster struct {
	ID            ClusterID
	Claimed       bool
	SetupHash     []byte // SHA-256 of the one-time setup secret
	ServerRoot    []byte // certificate that signs servers, DER
	ServerRootKey []byte // its key, sealed
	AgentRoot     []byte // certificate that signs agents, DER
	AgentRootKey  []byte // its key, sealed
}
