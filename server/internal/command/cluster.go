package command

import (
	"cmp"
	"time"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// InitCluster gives the installation its identity, once. Cluster.Claimed is not read.
type InitCluster struct {
	Cluster gestor.Cluster
	Level   uint32 // of the state it begins with; 0 means the newest this program understands
}

func (op InitCluster) encode(m *raftv1.Command) error {
	c := op.Cluster
	m.Op = &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{
		ClusterId:     string(c.ID),
		SetupHash:     c.SetupHash,
		ServerRoot:    c.ServerRoot,
		ServerRootKey: c.ServerRootKey,
		AgentRoot:     c.AgentRoot,
		AgentRootKey:  c.AgentRootKey,
		FirstUid:      c.FirstUID,
		Level:         cmp.Or(op.Level, Level),
	}}
	return nil
}

func decodeInitCluster(m *raftv1.InitCluster) InitCluster {
	return InitCluster{Level: max(1, m.GetLevel()), Cluster: gestor.Cluster{
		ID:            gestor.ClusterID(m.GetClusterId()),
		SetupHash:     m.GetSetupHash(),
		ServerRoot:    m.GetServerRoot(),
		ServerRootKey: m.GetServerRootKey(),
		AgentRoot:     m.GetAgentRoot(),
		AgentRootKey:  m.GetAgentRootKey(),
		FirstUID:      m.GetFirstUid(),
	}}
}

// Claim makes the first tenant and its admin, for whoever knows the setup secret.
type Claim struct {
	SetupHash    []byte // SHA-256 of the secret that was shown
	TenantID     gestor.TenantID
	TenantName   string
	UserID       gestor.UserID
	Email        string
	PasswordHash string
}

func (op Claim) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_Claim{Claim: &raftv1.Claim{
		SetupHash:    op.SetupHash,
		TenantId:     string(op.TenantID),
		TenantName:   op.TenantName,
		UserId:       string(op.UserID),
		Email:        op.Email,
		PasswordHash: op.PasswordHash,
	}}
	return nil
}

func decodeClaim(m *raftv1.Claim) Claim {
	return Claim{
		SetupHash:    m.GetSetupHash(),
		TenantID:     gestor.TenantID(m.GetTenantId()),
		TenantName:   m.GetTenantName(),
		UserID:       gestor.UserID(m.GetUserId()),
		Email:        m.GetEmail(),
		PasswordHash: m.GetPasswordHash(),
	}
}

// Prune removes ended tasks of ended deployments and builds, request ids, and expired sessions and tokens that are
// older than Before.
type Prune struct{ Before time.Time }

func (op Prune) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_Prune{Prune: &raftv1.Prune{Before: stamp(op.Before)}}
	return nil
}
