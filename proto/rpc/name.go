package rpc

import "strings"

// ServerName is the DNS name every server of a cluster has in its certificate, whatever its address: agents ask for
// it, so addresses may change freely. The id's underscore is no character of a DNS name: "clu_ab" gives
// "server.clu-ab.gestor.internal".
func ServerName(clusterID string) string {
	return "server." + strings.ReplaceAll(clusterID, "_", "-") + ".gestor.internal"
}
