package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateApp makes an app: App.ID, TenantID (the actor's if empty), Slug, Settings, DeployKey and DeployKeySealed are
// read; the rest is filled in by the state machine.
type CreateApp struct{ App gestor.App }

func (op CreateApp) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CreateApp{CreateApp: &raftv1.CreateApp{
		Id:              string(op.App.ID),
		Slug:            op.App.Slug,
		Settings:        EncodeSettings(op.App.Settings),
		DeployKey:       op.App.DeployKey,
		DeployKeySealed: op.App.DeployKeySealed,
	}}
	return nil
}

func decodeCreateApp(m *raftv1.CreateApp) CreateApp {
	return CreateApp{App: gestor.App{
		ID:              gestor.AppID(m.GetId()),
		Slug:            m.GetSlug(),
		Settings:        DecodeSettings(m.GetSettings()),
		DeployKey:       m.GetDeployKey(),
		DeployKeySealed: m.GetDeployKeySealed(),
	}}
}

// UpdateApp replaces an app's settings. Running deployments keep those they began with.
type UpdateApp struct {
	ID               gestor.AppID
	Settings         gestor.AppSettings
	ExpectedRevision uint64 // refused if the app's revision is another; 0 takes any
	MayUnprotect     bool   // whether the app may leave a protected environment
}

func (op UpdateApp) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_UpdateApp{UpdateApp: &raftv1.UpdateApp{
		Id:               string(op.ID),
		Settings:         EncodeSettings(op.Settings),
		ExpectedRevision: op.ExpectedRevision,
		MayUnprotect:     op.MayUnprotect,
	}}
	return nil
}

func decodeUpdateApp(m *raftv1.UpdateApp) UpdateApp {
	return UpdateApp{
		ID:               gestor.AppID(m.GetId()),
		Settings:         DecodeSettings(m.GetSettings()),
		ExpectedRevision: m.GetExpectedRevision(),
		MayUnprotect:     m.GetMayUnprotect(),
	}
}

// DeleteApp begins an app's removal, with a task for each node it has to be taken off.
type DeleteApp struct {
	ID    gestor.AppID
	Tasks []CreateTask
}

func (op DeleteApp) encode(m *raftv1.Command) error {
	tasks, err := encodeTasks(op.Tasks)
	m.Op = &raftv1.Command_DeleteApp{DeleteApp: &raftv1.DeleteApp{Id: string(op.ID), Tasks: tasks}}
	return err
}

func decodeDeleteApp(m *raftv1.DeleteApp) (Op, error) {
	tasks, err := decodeTasks(m.GetTasks())
	return DeleteApp{ID: gestor.AppID(m.GetId()), Tasks: tasks}, err
}

// ForgetApp removes an app that is being deleted, with all that belongs to it.
type ForgetApp struct{ ID gestor.AppID }

func (op ForgetApp) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ForgetApp{ForgetApp: &raftv1.ForgetApp{Id: string(op.ID)}}
	return nil
}

// UpdateEnv changes an app's variables; they reach programs with the next deployment.
type UpdateEnv struct {
	AppID gestor.AppID
	Set   map[string][]byte // sealed values by name
	Unset []string
}

func (op UpdateEnv) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_UpdateEnv{UpdateEnv: &raftv1.UpdateEnv{
		AppId: string(op.AppID),
		Set:   op.Set,
		Unset: op.Unset,
	}}
	return nil
}

func decodeUpdateEnv(m *raftv1.UpdateEnv) UpdateEnv {
	return UpdateEnv{AppID: gestor.AppID(m.GetAppId()), Set: m.GetSet(), Unset: m.GetUnset()}
}
