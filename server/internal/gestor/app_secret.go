package gestor

// Sealed values are bound to their place: they open only under the name of the place they were sealed for, so that
// nobody who can write to the state moves one app's secret into another.

// EnvPlace is where the value of a variable lives.
func EnvPlace(app AppID, name string) string { return string(app) + "/env/" + name }

// Where the roots' keys live.
const (
	ServerRootPlace = "cluster/server_root"
	AgentRootPlace  = "cluster/agent_root"
)

// DeployKeyPlace is where the private half of an app's deploy key lives.
func DeployKeyPlace(app AppID) string { return string(app) + "/deploy_key" }
