package gestor

import (
	"fmt"
	"time"
)

// ReleaseStatus is what became of a release.
type ReleaseStatus string

// A release is new until it was live and passed its watch (good) or failed on the way (bad).
const (
	ReleaseNew    ReleaseStatus = "new"
	ReleaseGood   ReleaseStatus = "good"
	ReleaseBad    ReleaseStatus = "bad"
	ReleasePruned ReleaseStatus = "pruned"
)

// Release is an artifact with the settings it runs with.
type Release struct {
	ID        ReleaseID
	TenantID  TenantID
	AppID     AppID
	Name      string // folder name on the hosts
	BuildID   BuildID
	Artifact  Artifact
	Status    ReleaseStatus
	Pinned    bool
	Reason    string // why it is bad
	CreatedAt time.Time
	CreatedBy string
	LiveAt    time.Time // when it last became live; zero if never
	// EnvVersion is the version of the app's variables that it runs with; 0 runs with those of the time.
	EnvVersion int64
	Revision   uint64
}

// ReleaseName is the folder name of the n-th release (from 1) made in the second of at: "20261123-193005",
// "20261123-193005-2". Names sort by age within a second up to 9.
func ReleaseName(at time.Time, n int) string {
	base := at.UTC().Format("20060102-150405")
	if n <= 1 {
		return base
	}
	return fmt.Sprintf("%s-%d", base, n)
}
