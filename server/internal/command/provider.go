package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateProvider makes a provider. TenantID, Operators, CreatedBy and CreatedAt are filled in by the state machine.
type CreateProvider struct{ Provider gestor.Provider }

func (CreateProvider) needs() uint32 { return levelPeople }

func (op CreateProvider) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CreateProvider{CreateProvider: &raftv1.CreateProvider{Provider: encodeProvider(op.Provider)}}
	return nil
}

// UpdateProvider replaces a provider; without a secret it keeps the old one.
type UpdateProvider struct {
	Provider         gestor.Provider
	ExpectedRevision uint64 // 0 takes any
}

func (UpdateProvider) needs() uint32 { return levelPeople }

func (op UpdateProvider) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_UpdateProvider{UpdateProvider: &raftv1.UpdateProvider{
		Provider: encodeProvider(op.Provider), ExpectedRevision: op.ExpectedRevision,
	}}
	return nil
}

// DeleteProvider removes a provider and its identities.
type DeleteProvider struct{ ID gestor.ProviderID }

func (DeleteProvider) needs() uint32 { return levelPeople }

func (op DeleteProvider) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteProvider{DeleteProvider: &raftv1.DeleteProvider{Id: string(op.ID)}}
	return nil
}

// AdmitIdentity records that a provider has vouched for somebody: it finds the user, or makes one where the provider may.
// Object of its receipt is the user. It opens no session.
type AdmitIdentity struct {
	Provider gestor.ProviderID
	Revision uint64            // of the provider, when its answer was asked for
	Identity gestor.IdentityID // if there is none yet
	Subject  string
	Email    string        // in the form of gestor.CheckEmail; the provider has verified it
	Name     string        // if they become a user
	User     gestor.UserID // if they become a user
	Answer   gestor.Challenge
}

func (AdmitIdentity) needs() uint32   { return levelPeople }
func (AdmitIdentity) whileSuspended() {}

func (op AdmitIdentity) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_AdmitIdentity{AdmitIdentity: &raftv1.AdmitIdentity{
		ProviderId: string(op.Provider), ProviderRevision: op.Revision, IdentityId: string(op.Identity), Subject: op.Subject,
		Email: op.Email, Name: op.Name, UserId: string(op.User), Once: op.Answer.Hash, Until: stamp(op.Answer.Until),
	}}
	return nil
}

func decodeAdmitIdentity(m *raftv1.AdmitIdentity) AdmitIdentity {
	return AdmitIdentity{
		Provider: gestor.ProviderID(m.GetProviderId()), Revision: m.GetProviderRevision(), Identity: gestor.IdentityID(m.GetIdentityId()),
		Subject: m.GetSubject(), Email: m.GetEmail(), Name: m.GetName(), User: gestor.UserID(m.GetUserId()),
		Answer: gestor.Challenge{Hash: m.GetOnce(), Until: moment(m.GetUntil())},
	}
}

// DeleteIdentity forgets an identity. One that is gone already is fine.
type DeleteIdentity struct{ ID gestor.IdentityID }

func (DeleteIdentity) needs() uint32   { return levelPeople }
func (DeleteIdentity) whileSuspended() {}

func (op DeleteIdentity) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteIdentity{DeleteIdentity: &raftv1.DeleteIdentity{Id: string(op.ID)}}
	return nil
}

// decodeProviderOp reads the ops on providers and identities.
func decodeProviderOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateProvider:
		return CreateProvider{Provider: decodeProvider(op.CreateProvider.GetProvider())}, true
	case *raftv1.Command_UpdateProvider:
		u := op.UpdateProvider
		return UpdateProvider{Provider: decodeProvider(u.GetProvider()), ExpectedRevision: u.GetExpectedRevision()}, true
	case *raftv1.Command_DeleteProvider:
		return DeleteProvider{ID: gestor.ProviderID(op.DeleteProvider.GetId())}, true
	case *raftv1.Command_AdmitIdentity:
		return decodeAdmitIdentity(op.AdmitIdentity), true
	case *raftv1.Command_DeleteIdentity:
		return DeleteIdentity{ID: gestor.IdentityID(op.DeleteIdentity.GetId())}, true
	}
	return nil, false
}

var userRoles = names[gestorv1.Role, gestor.Role]{
	gestorv1.Role_ROLE_ADMIN:     gestor.RoleAdmin,
	gestorv1.Role_ROLE_DEVOPS:    gestor.RoleDevOps,
	gestorv1.Role_ROLE_DEVELOPER: gestor.RoleDeveloper,
	gestorv1.Role_ROLE_VIEWER:    gestor.RoleViewer,
}

func encodeProvider(p gestor.Provider) *raftv1.ProviderRecord {
	return &raftv1.ProviderRecord{
		Id: string(p.ID), SecretSealed: p.SecretSealed,
		Settings: &gestorv1.ProviderSettings{
			Name: p.Name, Issuer: p.Issuer, ClientId: p.ClientID, Scopes: p.Scopes, Domains: p.Domains,
			TrustSecondFactor: p.TrustFactor, CreateUsers: p.CreateUsers, Role: userRoles.encode(p.Role), Disabled: p.Disabled,
		},
	}
}

func decodeProvider(m *raftv1.ProviderRecord) gestor.Provider {
	s := m.GetSettings()
	return gestor.Provider{
		ID: gestor.ProviderID(m.GetId()), SecretSealed: m.GetSecretSealed(),
		Name: s.GetName(), Issuer: s.GetIssuer(), ClientID: s.GetClientId(), Scopes: s.GetScopes(), Domains: s.GetDomains(),
		TrustFactor: s.GetTrustSecondFactor(), CreateUsers: s.GetCreateUsers(), Role: userRoles.decode(s.GetRole()), Disabled: s.GetDisabled(),
	}
}
