package gestor

import "time"

// BuildStatus is where a build stands.
type BuildStatus string

// A build is pending until its task starts, then running until it ends.
const (
	BuildPending   BuildStatus = "pending"
	BuildRunning   BuildStatus = "running"
	BuildSuccess   BuildStatus = "success"
	BuildFailed    BuildStatus = "failed"
	BuildCancelled BuildStatus = "cancelled"
)

// Ended reports whether nothing more will happen to it.
func (s BuildStatus) Ended() bool {
	return s == BuildSuccess || s == BuildFailed || s == BuildCancelled
}

// Kind is how a built release runs.
type Kind string

// Files served by the web server, or a program behind it.
const (
	KindStatic  Kind = "static"
	KindProcess Kind = "process"
)

// Artifact is what a build made and what a release runs.
type Artifact struct {
	Digest         string // SHA-256, hex
	Bytes          int64
	UnpackedBytes  int64
	Files          int64
	Type           AppType
	Kind           Kind
	WebRoot        string
	StartCommand   string
	RuntimeName    string
	RuntimeVersion string
	Commit         string
	Message        string
	Author         string
}

// Build is one run of a runner over one commit.
type Build struct {
	ID          BuildID
	TenantID    TenantID
	AppID       AppID
	Number      int64
	Status      BuildStatus
	Ref         string
	Artifact    Artifact // Commit, Message and Author are known once fetched, the rest on success
	TaskID      TaskID
	TriggeredBy string
	Error       string
	CreatedAt   time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
	Revision    uint64
}
