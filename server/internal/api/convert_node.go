package api

import (
	"google.golang.org/protobuf/proto"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// nodeNames are names by id.
type nodeNames map[gestor.NodeID]string

var nodeStatuses = map[gestor.NodeStatus]gestorv1.NodeStatus{
	gestor.NodeEnrolled:  gestorv1.NodeStatus_NODE_STATUS_ENROLLED,
	gestor.NodeConnected: gestorv1.NodeStatus_NODE_STATUS_CONNECTED,
	gestor.NodeSuspect:   gestorv1.NodeStatus_NODE_STATUS_SUSPECT,
	gestor.NodeLost:      gestorv1.NodeStatus_NODE_STATUS_LOST,
}

// nodeOut converts a node; load is absent where this server holds no live session of it.
func nodeOut(n gestor.Node, load *gestorv1.NodeLoad) *gestorv1.Node {
	return &gestorv1.Node{
		Id:          string(n.ID),
		Name:        n.Name,
		Labels:      n.Labels,
		Status:      nodeStatuses[n.Status],
		Draining:    n.Draining,
		StatusSince: timeOut(n.StatusSince),
		CreatedAt:   timeOut(n.CreatedAt),
		Facts:       nodeFacts(n),
		Load:        load,
		Revision:    n.Revision,
		Shared:      n.Shared,
	}
}

// nodeFacts is what a node reported; nil before its first session.
func nodeFacts(n gestor.Node) *gestorv1.NodeFacts {
	facts := new(gestorv1.NodeFacts)
	if len(n.Facts) == 0 || proto.Unmarshal(n.Facts, facts) != nil {
		return nil
	}
	return facts
}
