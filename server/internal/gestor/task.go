package gestor

import "time"

// TaskState is where a task stands.
type TaskState string

// queued → leased → running → succeeded | failed | cancelled | lost; a retry goes back to queued.
const (
	TaskQueued    TaskState = "queued"
	TaskLeased    TaskState = "leased"
	TaskRunning   TaskState = "running"
	TaskSucceeded TaskState = "succeeded"
	TaskFailed    TaskState = "failed"
	TaskCancelled TaskState = "cancelled"
	TaskLost      TaskState = "lost"
)

// Ended reports whether nothing more happens to it by itself.
func (s TaskState) Ended() bool {
	return s == TaskSucceeded || s == TaskFailed || s == TaskCancelled || s == TaskLost
}

// Held reports whether a node holds it.
func (s TaskState) Held() bool { return s == TaskLeased || s == TaskRunning }

// The kinds of task.
const (
	TaskDetect  = "detect"
	TaskBuild   = "build"
	TaskPrepare = "prepare"
	TaskSwitch  = "switch"
	TaskWatch   = "watch"
	TaskRetire  = "retire"
	TaskRemove  = "remove"
)

// OnLost is what happens to a task whose node is gone.
type OnLost string

// An idempotent task is tried again; for any other a person decides.
const (
	LostRetry OnLost = "retry"
	LostHold  OnLost = "hold"
)

// Priorities; higher goes first.
const (
	PriorityLow    = 0
	PriorityBuild  = 50
	PriorityDeploy = 100
	PriorityRevert = 200
)

// Task is one piece of work for one agent.
type Task struct {
	ID           TaskID
	TenantID     TenantID
	Kind         string
	State        TaskState
	NodeID       NodeID   // the node it is for or was given to
	Candidates   []NodeID // where it may go while NodeID is empty, best first
	AppID        AppID
	DeploymentID DeploymentID
	BuildID      BuildID
	Spec         []byte // gestor.agent.v1.TaskSpec
	Resource     string // "app/<slug>" or "task/<id>"
	Attempt      int
	MaxAttempts  int
	Fence        uint64
	Priority     int
	NotBefore    time.Time
	Timeout      time.Duration
	Deadline     time.Time // of the current attempt
	OnLost       OnLost
	Waiting      string
	Phase        string
	Percent      int
	Error        string
	Cancelling   bool
	Result       []byte // gestor.agent.v1.TaskResult
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	Revision     uint64
}

// Anywhere reports whether any node of the tenant may do t: it concerns no app and names no nodes of its own.
func (t Task) Anywhere() bool { return t.Kind == TaskDetect && t.AppID == "" && len(t.Candidates) == 0 }

// longestWait is more than anything has to wait for its time.
const longestWait = 10 * time.Minute

// Due is when a task may be given out, as it looks at a time: NotBefore, or at once where that is further away than anything has to
// wait, for then it was written by a clock that was wrong.
func (t Task) Due(now time.Time) time.Time {
	if t.NotBefore.Sub(now) > longestWait {
		return now
	}
	return t.NotBefore
}

// Backoff is how long to wait before the attempt after n (from 1): 1 s, 2 s, 4 s … at most 5 min.
func Backoff(n int) time.Duration {
	const most = 5 * time.Minute
	if n > 9 {
		return most
	}
	return min(time.Second<<max(n-1, 0), most)
}
