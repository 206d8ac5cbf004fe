package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// suspended is an op that people may do in a tenant that is suspended or cancelled: what has to do with signing in and out,
// and what takes rights away. Its method in the contract says so too.
type suspended interface{ whileSuspended() }

// WhileSuspended reports whether an op works in a tenant that is suspended or cancelled.
func WhileSuspended(op Op) bool {
	_, ok := op.(suspended)
	return ok
}

func (CreateSession) whileSuspended() {}
func (TouchSessions) whileSuspended() {}
func (DeleteSession) whileSuspended() {}
func (ConfirmEmail) whileSuspended()  {}
func (DeleteToken) whileSuspended()   {}
func (RecordAudit) whileSuspended()   {}

// CreateTenant makes a tenant. ID, Name, Plan and Quotas are read; the rest is filled in by the state machine.
type CreateTenant struct{ Tenant gestor.Tenant }

func (CreateTenant) needs() uint32 { return 2 }

func (op CreateTenant) encode(m *raftv1.Command) error {
	t := op.Tenant
	m.Op = &raftv1.Command_CreateTenant{CreateTenant: &raftv1.CreateTenant{
		Id: string(t.ID), Name: t.Name, Plan: t.Plan, Quotas: encodeQuotas(t.Quotas),
	}}
	return nil
}

func decodeCreateTenant(m *raftv1.CreateTenant) CreateTenant {
	return CreateTenant{Tenant: gestor.Tenant{
		ID: gestor.TenantID(m.GetId()), Name: m.GetName(), Plan: m.GetPlan(), Quotas: decodeQuotas(m.GetQuotas()),
	}}
}

// UpdateTenant changes a tenant. What is nil stays.
type UpdateTenant struct {
	ID           gestor.TenantID
	Name         *string
	Plan         *string
	Quotas       *gestor.Quotas
	SecondFactor *bool
}

func (UpdateTenant) needs() uint32 { return 2 }

func (op UpdateTenant) encode(m *raftv1.Command) error {
	u := &raftv1.UpdateTenant{Id: string(op.ID), Name: op.Name, Plan: op.Plan, SecondFactor: op.SecondFactor}
	if op.Quotas != nil {
		u.Quotas = encodeQuotas(*op.Quotas)
	}
	m.Op = &raftv1.Command_UpdateTenant{UpdateTenant: u}
	return nil
}

func decodeUpdateTenant(m *raftv1.UpdateTenant) UpdateTenant {
	op := UpdateTenant{ID: gestor.TenantID(m.GetId()), Name: m.Name, Plan: m.Plan, SecondFactor: m.SecondFactor}
	if m.GetQuotas() != nil {
		quotas := decodeQuotas(m.GetQuotas())
		op.Quotas = &quotas
	}
	return op
}

func encodeQuotas(q gestor.Quotas) *raftv1.TenantLimits {
	return &raftv1.TenantLimits{Apps: q.Apps, Databases: q.Databases, StorageBytes: q.StorageBytes}
}

func decodeQuotas(m *raftv1.TenantLimits) gestor.Quotas {
	return gestor.Quotas{Apps: m.GetApps(), Databases: m.GetDatabases(), StorageBytes: m.GetStorageBytes()}
}

// SetTenantStatus says what a tenant may do from now on. It does not lead out of the trash.
type SetTenantStatus struct {
	ID     gestor.TenantID
	Status string
	Reason string // for people
}

func (SetTenantStatus) needs() uint32 { return 2 }

func (op SetTenantStatus) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_SetTenantStatus{SetTenantStatus: &raftv1.SetTenantStatus{
		Id: string(op.ID), Status: op.Status, Reason: op.Reason,
	}}
	return nil
}

// RestoreTenant takes a tenant out of the trash, as it was before.
type RestoreTenant struct{ ID gestor.TenantID }

func (RestoreTenant) needs() uint32 { return 2 }

func (op RestoreTenant) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RestoreTenant{RestoreTenant: &raftv1.RestoreTenant{Id: string(op.ID)}}
	return nil
}

// PurgeTenant removes all that is left of a tenant whose time in the trash is over, but for its audit entries.
type PurgeTenant struct{ ID gestor.TenantID }

func (PurgeTenant) needs() uint32 { return 2 }

func (op PurgeTenant) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_PurgeTenant{PurgeTenant: &raftv1.PurgeTenant{Id: string(op.ID)}}
	return nil
}

// ShareNode says who may use a node: every tenant, or its owner alone.
type ShareNode struct {
	ID     gestor.NodeID
	Shared bool
	Owner  gestor.TenantID // from now on; empty leaves the owner
}

func (ShareNode) needs() uint32 { return 2 }

func (op ShareNode) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ShareNode{ShareNode: &raftv1.ShareNode{
		NodeId: string(op.ID), Shared: op.Shared, TenantId: string(op.Owner),
	}}
	return nil
}

// decodeTenantOp reads the ops on tenants and on what they share.
func decodeTenantOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateTenant:
		return decodeCreateTenant(op.CreateTenant), true
	case *raftv1.Command_UpdateTenant:
		return decodeUpdateTenant(op.UpdateTenant), true
	case *raftv1.Command_SetTenantStatus:
		s := op.SetTenantStatus
		return SetTenantStatus{ID: gestor.TenantID(s.GetId()), Status: s.GetStatus(), Reason: s.GetReason()}, true
	case *raftv1.Command_RestoreTenant:
		return RestoreTenant{ID: gestor.TenantID(op.RestoreTenant.GetId())}, true
	case *raftv1.Command_PurgeTenant:
		return PurgeTenant{ID: gestor.TenantID(op.PurgeTenant.GetId())}, true
	case *raftv1.Command_ShareNode:
		s := op.ShareNode
		return ShareNode{ID: gestor.NodeID(s.GetNodeId()), Shared: s.GetShared(), Owner: gestor.TenantID(s.GetTenantId())}, true
	}
	return nil, false
}
