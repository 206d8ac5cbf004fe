package command

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// names maps an enum of the contract to the domain's names, by number; number 0 is the empty name.
type names[E ~int32, T ~string] []T

func (n names[E, T]) decode(e E) T {
	if e < 0 || int(e) >= len(n) {
		return ""
	}
	return n[e]
}

func (n names[E, T]) encode(t T) E {
	for i, name := range n {
		if name == t {
			return E(i)
		}
	}
	return 0
}

var appTypes = names[gestorv1.AppType, gestor.AppType]{
	gestorv1.AppType_APP_TYPE_NODE:   gestor.TypeNode,
	gestorv1.AppType_APP_TYPE_PHP:    gestor.TypePHP,
	gestorv1.AppType_APP_TYPE_PYTHON: gestor.TypePython,
	gestorv1.AppType_APP_TYPE_STATIC: gestor.TypeStatic,
	gestorv1.AppType_APP_TYPE_DOCKER: gestor.TypeDocker,
}

var appKinds = names[gestorv1.AppKind, gestor.Kind]{
	gestorv1.AppKind_APP_KIND_STATIC:  gestor.KindStatic,
	gestorv1.AppKind_APP_KIND_PROCESS: gestor.KindProcess,
}

var environments = names[gestorv1.Environment, string]{
	gestorv1.Environment_ENVIRONMENT_DEVELOPMENT: "development",
	gestorv1.Environment_ENVIRONMENT_STAGING:     "staging",
	gestorv1.Environment_ENVIRONMENT_PRODUCTION:  "production",
}

var nodeStatuses = names[gestorv1.NodeStatus, gestor.NodeStatus]{
	gestorv1.NodeStatus_NODE_STATUS_ENROLLED:  gestor.NodeEnrolled,
	gestorv1.NodeStatus_NODE_STATUS_CONNECTED: gestor.NodeConnected,
	gestorv1.NodeStatus_NODE_STATUS_SUSPECT:   gestor.NodeSuspect,
	gestorv1.NodeStatus_NODE_STATUS_LOST:      gestor.NodeLost,
}
