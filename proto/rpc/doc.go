// Package rpc is what server, agent and command line share of talking to each other: a Connect client over TLS 1.3
// and HTTP/2 that trusts one root or one pin, the headers that carry versions and revisions, and the passage of
// faults over the wire. An error that leaves the server with a kind arrives with that kind; an error without one
// leaves as "internal error, reference …" and stays whole in the server's log. A client that knows several
// servers of an installation keeps to one and goes to another when that fails. It knows no service by name.
package rpc

// The headers both sides use.
const (
	HeaderVersion     = "Gestor-Version"      // the sender's version, on requests and responses
	HeaderRevision    = "Gestor-Revision"     // on responses: the revision the server has applied
	HeaderMinRevision = "Gestor-Min-Revision" // on requests: answer from no older state than this
	HeaderServers     = "Gestor-Servers"      // on responses to people: all servers, "name=host:port, …"
	HeaderReference   = "Gestor-Request"      // on responses: the reference that finds the request in the log
	HeaderConsistency = "Gestor-Consistency"  // on requests: how fresh a read must be; ConsistencyLeader if absent
)

// The values of HeaderConsistency.
const (
	ConsistencyLeader = "leader" // all that was committed anywhere before the call
	ConsistencyLocal  = "local"  // what the server that is asked has; it may be behind
)

// Sizes both sides keep to, in bytes.
const (
	MaxUnaryBytes  = 4 << 20 // one request or response
	MaxStreamBytes = 2 << 20 // one message of a stream
)
