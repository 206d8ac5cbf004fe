package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateServerToken lets one host become a control server. Token.CreatedBy, AuditIn and UsedBy are filled in by the state
// machine.
type CreateServerToken struct{ Token gestor.ServerToken }

func (op CreateServerToken) encode(m *raftv1.Command) error {
	t := op.Token
	m.Op = &raftv1.Command_CreateServerToken{CreateServerToken: &raftv1.CreateServerToken{
		Id:         t.ID,
		SecretHash: t.SecretHash,
		Name:       t.Name,
		ExpiresAt:  stamp(t.ExpiresAt),
		Replaces:   string(t.Replaces),
	}}
	return nil
}

func decodeCreateServerToken(m *raftv1.CreateServerToken) CreateServerToken {
	return CreateServerToken{Token: gestor.ServerToken{
		ID:         m.GetId(),
		SecretHash: m.GetSecretHash(),
		Name:       m.GetName(),
		ExpiresAt:  moment(m.GetExpiresAt()),
		Replaces:   gestor.ServerID(m.GetReplaces()),
	}}
}

// EnrollServer uses a server token. The token's name goes before the server's own.
type EnrollServer struct {
	TokenID    string
	SecretHash []byte // SHA-256 of the secret that was shown
	Server     gestor.Server
}

func (op EnrollServer) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_EnrollServer{EnrollServer: &raftv1.EnrollServer{
		TokenId: op.TokenID, SecretHash: op.SecretHash, Server: encodeServer(op.Server),
	}}
	return nil
}

// PutServer writes what a control server says of itself.
type PutServer struct{ Server gestor.Server }

func (op PutServer) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_PutServer{PutServer: &raftv1.PutServer{Server: encodeServer(op.Server)}}
	return nil
}

// DeleteServer forgets a control server; the leader takes it out of the replication then.
type DeleteServer struct{ ID gestor.ServerID }

func (op DeleteServer) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteServer{DeleteServer: &raftv1.DeleteServer{Id: string(op.ID)}}
	return nil
}

// decodeServerOp reads the ops on control servers.
func decodeServerOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateServerToken:
		return decodeCreateServerToken(op.CreateServerToken), true
	case *raftv1.Command_EnrollServer:
		e := op.EnrollServer
		return EnrollServer{TokenID: e.GetTokenId(), SecretHash: e.GetSecretHash(), Server: decodeServer(e.GetServer())}, true
	case *raftv1.Command_PutServer:
		return PutServer{Server: decodeServer(op.PutServer.GetServer())}, true
	case *raftv1.Command_DeleteServer:
		return DeleteServer{ID: gestor.ServerID(op.DeleteServer.GetId())}, true
	}
	return nil, false
}

func encodeServer(s gestor.Server) *raftv1.ServerRecord {
	return &raftv1.ServerRecord{
		Id:          string(s.ID),
		Name:        s.Name,
		PeerAddress: s.PeerAddress,
		Addresses:   s.Addresses,
		Version:     s.Version,
		Level:       s.Level,
	}
}

func decodeServer(m *raftv1.ServerRecord) gestor.Server {
	return gestor.Server{
		ID:          gestor.ServerID(m.GetId()),
		Name:        m.GetName(),
		PeerAddress: m.GetPeerAddress(),
		Addresses:   m.GetAddresses(),
		Version:     m.GetVersion(),
		Level:       m.GetLevel(),
	}
}
