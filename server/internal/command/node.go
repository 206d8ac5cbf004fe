package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateJoinToken lets one host in. Token.CreatedBy and UsedBy are filled in by the state machine.
type CreateJoinToken struct{ Token gestor.JoinToken }

func (op CreateJoinToken) encode(m *raftv1.Command) error {
	t := op.Token
	m.Op = &raftv1.Command_CreateJoinToken{CreateJoinToken: &raftv1.CreateJoinToken{
		Id:         t.ID,
		TenantId:   string(t.TenantID),
		SecretHash: t.SecretHash,
		NodeName:   t.NodeName,
		Labels:     t.Labels,
		ExpiresAt:  stamp(t.ExpiresAt),
		NodeId:     string(t.NodeID),
	}}
	return nil
}

func decodeCreateJoinToken(m *raftv1.CreateJoinToken) CreateJoinToken {
	return CreateJoinToken{Token: gestor.JoinToken{
		ID:         m.GetId(),
		TenantID:   gestor.TenantID(m.GetTenantId()),
		SecretHash: m.GetSecretHash(),
		NodeName:   m.GetNodeName(),
		Labels:     m.GetLabels(),
		ExpiresAt:  moment(m.GetExpiresAt()),
		NodeID:     gestor.NodeID(m.GetNodeId()),
	}}
}

// EnrollNode uses a join token. The node's id and name come from the token.
type EnrollNode struct {
	TokenID    string
	SecretHash []byte // SHA-256 of the secret that was shown
	SPKI       []byte // SHA-256 of the node's public key
	Facts      []byte // gestor.v1.NodeFacts
}

func (op EnrollNode) encode(m *raftv1.Command) error {
	facts, err := unpack(op.Facts, &gestorv1.NodeFacts{})
	m.Op = &raftv1.Command_EnrollNode{EnrollNode: &raftv1.EnrollNode{
		TokenId:    op.TokenID,
		SecretHash: op.SecretHash,
		Spki:       op.SPKI,
		Facts:      facts,
	}}
	return err
}

func decodeEnrollNode(m *raftv1.EnrollNode) (Op, error) {
	facts, err := pack(m.GetFacts())
	return EnrollNode{TokenID: m.GetTokenId(), SecretHash: m.GetSecretHash(), SPKI: m.GetSpki(), Facts: facts}, err
}

// RenewNode counts a certificate renewal; refused if the node's generation is not Generation.
type RenewNode struct {
	ID         gestor.NodeID
	Generation uint64
}

func (op RenewNode) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RenewNode{RenewNode: &raftv1.RenewNode{NodeId: string(op.ID), Generation: op.Generation}}
	return nil
}

// SetNodeStatus records a transition.
type SetNodeStatus struct {
	ID     gestor.NodeID
	Status gestor.NodeStatus
	Facts  []byte // gestor.v1.NodeFacts; empty leaves the old
}

func (op SetNodeStatus) encode(m *raftv1.Command) error {
	facts, err := unpack(op.Facts, &gestorv1.NodeFacts{})
	m.Op = &raftv1.Command_SetNodeStatus{SetNodeStatus: &raftv1.SetNodeStatus{
		NodeId: string(op.ID),
		Status: nodeStatuses.encode(op.Status),
		Facts:  facts,
	}}
	return err
}

func decodeSetNodeStatus(m *raftv1.SetNodeStatus) (Op, error) {
	facts, err := pack(m.GetFacts())
	id, status := gestor.NodeID(m.GetNodeId()), nodeStatuses.decode(m.GetStatus())
	return SetNodeStatus{ID: id, Status: status, Facts: facts}, err
}

// SetNodeDraining keeps new work away from a node or lets it in.
type SetNodeDraining struct {
	ID       gestor.NodeID
	Draining bool
}

func (op SetNodeDraining) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_SetNodeDraining{SetNodeDraining: &raftv1.SetNodeDraining{
		NodeId:   string(op.ID),
		Draining: op.Draining,
	}}
	return nil
}

func decodeSetNodeDraining(m *raftv1.SetNodeDraining) SetNodeDraining {
	return SetNodeDraining{ID: gestor.NodeID(m.GetNodeId()), Draining: m.GetDraining()}
}

// DeleteNode forgets a node; tasks it has or waits for are lost.
type DeleteNode struct{ ID gestor.NodeID }

func (op DeleteNode) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteNode{DeleteNode: &raftv1.DeleteNode{NodeId: string(op.ID)}}
	return nil
}
