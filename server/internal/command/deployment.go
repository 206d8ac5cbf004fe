package command

import (
	"time"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateDeployment makes a deployment and takes the app's deploy lock. One of Build, BuildID and ReleaseID is set.
type CreateDeployment struct {
	ID           gestor.DeploymentID
	AppID        gestor.AppID
	Build        *CreateBuild // a build to make first, or
	BuildID      gestor.BuildID
	ReleaseID    gestor.ReleaseID
	Rollback     bool
	AllowBad     bool
	NewReleaseID gestor.ReleaseID // what the release will be called, unless ReleaseID is set
}

func (op CreateDeployment) encode(m *raftv1.Command) error {
	d := &raftv1.CreateDeployment{
		Id:           string(op.ID),
		AppId:        string(op.AppID),
		BuildId:      string(op.BuildID),
		ReleaseId:    string(op.ReleaseID),
		Rollback:     op.Rollback,
		AllowBad:     op.AllowBad,
		NewReleaseId: string(op.NewReleaseID),
	}
	m.Op = &raftv1.Command_CreateDeployment{CreateDeployment: d}
	if op.Build == nil {
		return nil
	}
	var err error
	d.Build, err = op.Build.message()
	return err
}

func decodeCreateDeployment(m *raftv1.CreateDeployment) (Op, error) {
	op := CreateDeployment{
		ID:           gestor.DeploymentID(m.GetId()),
		AppID:        gestor.AppID(m.GetAppId()),
		BuildID:      gestor.BuildID(m.GetBuildId()),
		ReleaseID:    gestor.ReleaseID(m.GetReleaseId()),
		Rollback:     m.GetRollback(),
		AllowBad:     m.GetAllowBad(),
		NewReleaseID: gestor.ReleaseID(m.GetNewReleaseId()),
	}
	if m.GetBuild() == nil {
		return op, nil
	}
	b, err := decodeCreateBuild(m.GetBuild())
	op.Build = &b
	return op, err
}

// AdvanceDeployment moves a deployment on; refused if it is not in From. From and To may be equal, to add tasks.
type AdvanceDeployment struct {
	ID          gestor.DeploymentID
	From, To    gestor.DeploymentState
	Tasks       []CreateTask
	Error       string // why it fails
	CancelTasks []gestor.TaskID
	JudgedBy    string    // of a switch: which protections the freezes were judged by; refused if they are others now
	ClearUntil  time.Time // of a switch: when the next freeze begins; refused from then on; zero if none is in sight
}

func (op AdvanceDeployment) encode(m *raftv1.Command) error {
	tasks, err := encodeTasks(op.Tasks)
	m.Op = &raftv1.Command_AdvanceDeployment{AdvanceDeployment: &raftv1.AdvanceDeployment{
		Id:          string(op.ID),
		From:        string(op.From),
		To:          string(op.To),
		Tasks:       tasks,
		Error:       op.Error,
		CancelTasks: texts(op.CancelTasks),
		JudgedBy:    op.JudgedBy,
		ClearUntil:  stamp(op.ClearUntil),
	}}
	return err
}

func decodeAdvanceDeployment(m *raftv1.AdvanceDeployment) (Op, error) {
	tasks, err := decodeTasks(m.GetTasks())
	return AdvanceDeployment{
		ID:          gestor.DeploymentID(m.GetId()),
		From:        gestor.DeploymentState(m.GetFrom()),
		To:          gestor.DeploymentState(m.GetTo()),
		Tasks:       tasks,
		Error:       m.GetError(),
		CancelTasks: ids[gestor.TaskID](m.GetCancelTasks()),
		JudgedBy:    m.GetJudgedBy(),
		ClearUntil:  moment(m.GetClearUntil()),
	}, err
}

// CancelDeployment marks a deployment for stopping; the deploy loop then stops it.
type CancelDeployment struct{ ID gestor.DeploymentID }

func (op CancelDeployment) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CancelDeployment{CancelDeployment: &raftv1.CancelDeployment{Id: string(op.ID)}}
	return nil
}

// PinRelease keeps a release from being pruned, or no longer.
type PinRelease struct {
	ID     gestor.ReleaseID
	Pinned bool
}

func (op PinRelease) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_PinRelease{PinRelease: &raftv1.PinRelease{Id: string(op.ID), Pinned: op.Pinned}}
	return nil
}
