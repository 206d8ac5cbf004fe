package command

import (
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"google.golang.org/protobuf/proto"
)

// CreateBuild makes a build and the task that carries it out. Its number is given by the state machine, also in the
// task's BuildWork.
type CreateBuild struct {
	ID    gestor.BuildID
	AppID gestor.AppID
	Ref   string // what was asked for
	Task  gestor.Task
}

func (op CreateBuild) encode(m *raftv1.Command) error {
	b, err := op.message()
	m.Op = &raftv1.Command_CreateBuild{CreateBuild: b}
	return err
}

func (op CreateBuild) message() (*raftv1.CreateBuild, error) {
	t, err := CreateTask{Task: op.Task}.message()
	return &raftv1.CreateBuild{Id: string(op.ID), AppId: string(op.AppID), Ref: op.Ref, Task: t}, err
}

func decodeCreateBuild(m *raftv1.CreateBuild) (CreateBuild, error) {
	t, err := decodeCreateTask(m.GetTask())
	return CreateBuild{
		ID:    gestor.BuildID(m.GetId()),
		AppID: gestor.AppID(m.GetAppId()),
		Ref:   m.GetRef(),
		Task:  t.Task,
	}, err
}

// Artifact reads what a build task made out of its result, a gestor.agent.v1.TaskResult. It reports false for bytes
// that hold no BuildResult.
func Artifact(result []byte) (gestor.Artifact, bool) {
	var m agentv1.TaskResult
	if err := proto.Unmarshal(result, &m); err != nil || m.GetBuild() == nil {
		return gestor.Artifact{}, false
	}
	b := m.GetBuild()
	return gestor.Artifact{
		Digest:         b.GetArtifactDigest(),
		Bytes:          b.GetArtifactBytes(),
		UnpackedBytes:  b.GetUnpackedBytes(),
		Files:          b.GetFiles(),
		Type:           appTypes.decode(b.GetType()),
		Kind:           appKinds.decode(b.GetKind()),
		WebRoot:        b.GetWebRoot(),
		StartCommand:   b.GetStartCommand(),
		RuntimeName:    b.GetRuntime().GetName(),
		RuntimeVersion: b.GetRuntime().GetVersion(),
		Commit:         b.GetCommit(),
		Message:        b.GetMessage(),
		Author:         b.GetAuthor(),
	}, true
}

// NumberSpec returns the spec of a build task with the build's number and the app's uid in it.
func NumberSpec(spec []byte, number int64, uid uint32) ([]byte, error) {
	var m agentv1.TaskSpec
	if err := proto.Unmarshal(spec, &m); err != nil {
		return nil, err
	}
	work := m.GetBuild()
	if work == nil {
		return spec, nil
	}
	work.Number = number
	if work.App != nil {
		work.App.Uid = uid
	}
	return marshal(&m)
}
