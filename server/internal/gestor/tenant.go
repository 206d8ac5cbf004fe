package gestor

import "time"

// Tenant is a customer of the installation.
type Tenant struct {
	ID        TenantID
	Name      string
	Plan      string // "free", "basic", "pro", "enterprise"
	Status    string // StatusActive, StatusSuspended, StatusCancelled, StatusTrash
	CreatedAt time.Time

	Reason       string // why it is not active, for people
	SecondFactor bool   // every user needs a second factor
	TrashedAt    time.Time
	Before       string // the status before StatusTrash
	Quotas       Quotas // zeroes mean what the plan gives
}

// TrashTime is how long a deleted tenant can be brought back.
const TrashTime = 7 * 24 * time.Hour

// Quotas are what a tenant may have. Zero means what the plan gives, negative no limit.
type Quotas struct {
	Apps         int64
	Databases    int64
	StorageBytes int64
}

// DefaultFirstUID is above the uids distributions give to people and services, and below those of containers.
const DefaultFirstUID = 70000

// Cluster is the identity of the installation.
type Cluster struct {
	ID            ClusterID
	Claimed       bool
	SetupHash     []byte // SHA-256 of the one-time setup secret
	ServerRoot    []byte // certificate that signs servers, DER
	ServerRootKey []byte // its key, sealed
	AgentRoot     []byte // certificate that signs agents, DER
	AgentRootKey  []byte // its key, sealed
	FirstUID      uint32 // of the first app's system user; later apps count up from it
}
