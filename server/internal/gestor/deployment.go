package gestor

import (
	"slices"
	"time"
)

// DeploymentState is where a deployment stands.
type DeploymentState string

// A deployment goes building → preparing → switching → watching → succeeded. From preparing on it may fail; once
// a node may have switched it goes through reverting first.
const (
	DeploymentBuilding  DeploymentState = "building"
	DeploymentPreparing DeploymentState = "preparing"
	DeploymentSwitching DeploymentState = "switching"
	DeploymentWatching  DeploymentState = "watching"
	DeploymentReverting DeploymentState = "reverting"
	DeploymentSucceeded DeploymentState = "succeeded"
	DeploymentFailed    DeploymentState = "failed"
	DeploymentCancelled DeploymentState = "cancelled"
)

var deploymentNext = map[DeploymentState][]DeploymentState{
	DeploymentBuilding:  {DeploymentPreparing, DeploymentFailed, DeploymentCancelled},
	DeploymentPreparing: {DeploymentSwitching, DeploymentFailed, DeploymentCancelled},
	DeploymentSwitching: {DeploymentWatching, DeploymentReverting},
	DeploymentWatching:  {DeploymentSucceeded, DeploymentReverting},
	DeploymentReverting: {DeploymentFailed, DeploymentCancelled},
}

// Ended reports whether nothing more will happen to it.
func (s DeploymentState) Ended() bool { return len(deploymentNext[s]) == 0 }

// CanBecome reports whether next may follow s.
func (s DeploymentState) CanBecome(next DeploymentState) bool {
	return slices.Contains(deploymentNext[s], next)
}

// Deployment is one attempt to make a release live on all nodes of an app.
type Deployment struct {
	ID              DeploymentID
	TenantID        TenantID
	AppID           AppID
	State           DeploymentState
	Rollback        bool
	AllowBad        bool
	BuildID         BuildID
	ReleaseID       ReleaseID // chosen at creation; the release exists once the build is done
	PreviousRelease ReleaseID
	Nodes           []NodeID // fixed at creation
	Phases          []Phase
	Error           string
	Cancelling      bool
	CreatedBy       string
	CreatedAt       time.Time
	FinishedAt      time.Time
	LiveAt          time.Time
	Settings        AppSettings // the app's settings when it began
	EnvVersion      int64       // of the app's variables, fixed when it began; 0 in a state without versions
	Waiting         string      // why it waits before its switch, for people; empty if it does not
	AskedBy         UserID      // the person who asked for it, also through a token; empty if that was nobody or is not known
	ApprovalAskedAt time.Time   // since when it waits for approvals; zero if it never did
	Override        Override    // who let it switch during a freeze
	Revision        uint64
}

// Phase is a step with its times; FinishedAt is zero while it runs.
type Phase struct {
	Name       string
	StartedAt  time.Time
	FinishedAt time.Time
}
