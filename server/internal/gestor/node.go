package gestor

import "time"

// NodeStatus is what the servers know of a node's agent.
type NodeStatus string

// A node is enrolled until its first session, then connected; silent or cut off it is suspect, and lost after 15 s.
const (
	NodeEnrolled  NodeStatus = "enrolled"
	NodeConnected NodeStatus = "connected"
	NodeSuspect   NodeStatus = "suspect"
	NodeLost      NodeStatus = "lost"
)

// Node is a host that runs an agent.
type Node struct {
	ID          NodeID
	TenantID    TenantID
	Name        string
	Labels      map[string]string
	Status      NodeStatus
	StatusSince time.Time
	Draining    bool
	SPKI        []byte // SHA-256 of its public key
	Generation  uint64 // counts certificate renewals
	Facts       []byte // gestor.v1.NodeFacts, opaque here
	CreatedAt   time.Time
	Revision    uint64
	Shared      bool // every tenant may place apps on it; TenantID still manages it
}

// JoinToken lets one host become a node.
type JoinToken struct {
	ID         string
	TenantID   TenantID
	SecretHash []byte // SHA-256
	NodeName   string
	Labels     map[string]string
	NodeID     NodeID
	ExpiresAt  time.Time
	CreatedBy  string
	UsedBy     []byte // SHA-256 of the public key that used it; empty until then
}
