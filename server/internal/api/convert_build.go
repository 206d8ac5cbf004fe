package api

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var buildStatuses = map[gestor.BuildStatus]gestorv1.BuildStatus{
	gestor.BuildPending:   gestorv1.BuildStatus_BUILD_STATUS_PENDING,
	gestor.BuildRunning:   gestorv1.BuildStatus_BUILD_STATUS_RUNNING,
	gestor.BuildSuccess:   gestorv1.BuildStatus_BUILD_STATUS_SUCCESS,
	gestor.BuildFailed:    gestorv1.BuildStatus_BUILD_STATUS_FAILED,
	gestor.BuildCancelled: gestorv1.BuildStatus_BUILD_STATUS_CANCELLED,
}

var kinds = map[gestor.Kind]gestorv1.AppKind{
	gestor.KindStatic:  gestorv1.AppKind_APP_KIND_STATIC,
	gestor.KindProcess: gestorv1.AppKind_APP_KIND_PROCESS,
}

func buildOut(b gestor.Build) *gestorv1.Build {
	return &gestorv1.Build{
		Id:             string(b.ID),
		AppId:          string(b.AppID),
		Number:         b.Number,
		Status:         buildStatuses[b.Status],
		Ref:            b.Ref,
		Commit:         b.Artifact.Commit,
		Message:        b.Artifact.Message,
		Author:         b.Artifact.Author,
		Kind:           kinds[b.Artifact.Kind],
		ArtifactDigest: b.Artifact.Digest,
		ArtifactBytes:  b.Artifact.Bytes,
		TaskId:         string(b.TaskID),
		TriggeredBy:    b.TriggeredBy,
		Error:          b.Error,
		CreatedAt:      timeOut(b.CreatedAt),
		StartedAt:      timeOut(b.StartedAt),
		FinishedAt:     timeOut(b.FinishedAt),
		Revision:       b.Revision,
	}
}
