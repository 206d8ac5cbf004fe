package gestor

import "time"

// AppStatus sums an app up.
type AppStatus string

// The states of an app.
const (
	AppInactive  AppStatus = "inactive"
	AppActive    AppStatus = "active"
	AppDeploying AppStatus = "deploying"
	AppError     AppStatus = "error"
	AppDeleting  AppStatus = "deleting"
)

// AppType is the runner that builds an app; empty is detected at the build.
type AppType string

// The runners.
const (
	TypeNode   AppType = "node"
	TypePHP    AppType = "php"
	TypePython AppType = "python"
	TypeStatic AppType = "static"
	TypeDocker AppType = "docker"
)

// App is an application.
type App struct {
	ID               AppID
	TenantID         TenantID
	Slug             string
	UID              uint32 // uid and gid of its system user on every node; given by the state machine
	Settings         AppSettings
	Status           AppStatus
	CurrentRelease   ReleaseID
	ActiveDeployment DeploymentID // holds the deploy lock
	DeployKey        string       // public line
	DeployKeySealed  []byte
	LastBuild        int64 // the highest build number given
	EnvVersion       int64 // of its variables as they are now; 0 in a state without versions
	CreatedAt        time.Time
	UpdatedAt        time.Time
	Revision         uint64
}

// AppSettings is what a person decides of an app. Zero values mean the defaults of WithDefaults.
type AppSettings struct {
	Name          string
	Repository    string
	Branch        string
	Type          AppType
	Environment   string // "development", "staging", "production"
	Domains       []string
	Port          int
	Root          string
	BuildCommand  string
	StartCommand  string
	Output        string
	HealthPath    string
	HealthTimeout time.Duration
	Watch         *time.Duration // nil: 10 s for programs, 0 for static
	Drain         time.Duration
	Nodes         []NodeID
	Keep          int
	Shared        []string
	Submodules    bool
	LFS           bool
	PreSwitch     string
	PostSwitch    string
	KnownHosts    string
	Limits        Limits
	BuildLimits   Limits
}

// Limits are ceilings for processes; a zero means the default.
type Limits struct {
	MemoryBytes uint64
	CPUs        float64
	Processes   int
	Time        time.Duration
	DiskBytes   uint64
}

// EnvVar is a variable of an app.
type EnvVar struct {
	Name      string
	Sealed    []byte
	UpdatedAt time.Time
	Since     int64  // the version that brought this value; 0 in a state without versions
	SetBy     string // who set it; empty if that is not known
}

// EnvVersion is the variables of an app between two changes of them.
type EnvVersion struct {
	AppID     AppID
	TenantID  TenantID
	Version   int64 // 1, 2, 3 …
	CreatedAt time.Time
	CreatedBy string
	Restores  int64 // the version whose values it has again; 0 for none
	Revision  uint64
}

// EnvChange is what a version of an app's variables changed, by name.
type EnvChange struct {
	Set     []string
	Removed []string
}

// KeptEnvVersions is how many versions of an app's variables are kept besides those that releases name.
const KeptEnvVersions = 20
