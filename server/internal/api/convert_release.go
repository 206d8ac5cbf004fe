package api

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var releaseStatuses = map[gestor.ReleaseStatus]gestorv1.ReleaseStatus{
	gestor.ReleaseNew:    gestorv1.ReleaseStatus_RELEASE_STATUS_NEW,
	gestor.ReleaseGood:   gestorv1.ReleaseStatus_RELEASE_STATUS_GOOD,
	gestor.ReleaseBad:    gestorv1.ReleaseStatus_RELEASE_STATUS_BAD,
	gestor.ReleasePruned: gestorv1.ReleaseStatus_RELEASE_STATUS_PRUNED,
}

// releaseOut converts a release; current is the one that is live.
func releaseOut(r gestor.Release, current gestor.ReleaseID) *gestorv1.Release {
	return &gestorv1.Release{
		Id:             string(r.ID),
		AppId:          string(r.AppID),
		Name:           r.Name,
		BuildId:        string(r.BuildID),
		Commit:         r.Artifact.Commit,
		Message:        r.Artifact.Message,
		Kind:           kinds[r.Artifact.Kind],
		Status:         releaseStatuses[r.Status],
		Pinned:         r.Pinned,
		Current:        r.ID == current,
		Reason:         r.Reason,
		CreatedAt:      timeOut(r.CreatedAt),
		CreatedBy:      r.CreatedBy,
		ArtifactDigest: r.Artifact.Digest,
		ArtifactBytes:  r.Artifact.Bytes,
		Revision:       r.Revision,
		EnvVersion:     r.EnvVersion,
	}
}
