package api

import (
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/limit"
)

// LimitsOptions say how much callers may ask of this server. A zero means no limit.
type LimitsOptions struct {
	AddressReads, AddressWrites float64 // calls a second of one address, by those without a certificate
	TenantReads, TenantWrites   float64 // calls a second of one tenant
	NodeCalls                   float64 // calls a second of one node
	CallsAtOnce                 int     // reads that run; as many writes, and as many calls of nodes
	StreamsPerSession           int     // open streams of one sign-in
	StreamsPerNode              int     // open streams of one node
	Now                         func() time.Time
}

// Limits is what has been asked of this server. It is safe for concurrent use.
type Limits struct {
	addressReads, addressWrites, tenantReads, tenantWrites, nodeCalls *limit.Rates

	reads, writes, nodes *limit.Slots  // calls whose handlers run
	barriers             *limit.Counts // reads that wait for the leader
	streams, nodeStreams *limit.Counts
	bodies               *limit.Counts // bytes of messages that are being received

	strangers *limit.Rates  // looks at the leader for somebody unknown here
	doubts    *limit.Counts // of those, the ones under way
}

const (
	// bursts is how many seconds' worth of calls may come at once: a page of the dashboard, a script, all agents of a
	// host after a restart.
	bursts = 3
	// queueing is how many calls may wait for each that runs, and for how long.
	queueing, patience = 4, time.Second

	mostBarriers, mostBarriersOfOne = 8192, 1024
	// A stranger with made-up tokens makes this server ask the leader no more often than this.
	strangerLooks, strangerBurst, strangerDoubts, mostDoubts = 5, 20, 4, 256
	// mostBodies bounds the memory of half received messages, of one caller and of all.
	mostBodiesOfOne, mostBodies = 64 << 20, 512 << 20
)

// NewLimits makes the limits of a server.
func NewLimits(o LimitsOptions) *Limits {
	rates := func(perSecond float64) *limit.Rates {
		return limit.NewRates(limit.RatesOptions{PerSecond: perSecond, Burst: int(bursts * perSecond), Now: o.Now})
	}
	slots := func() *limit.Slots {
		n := o.CallsAtOnce
		return limit.NewSlots(limit.SlotsOptions{Running: n, Waiting: queueing * n, Share: (queueing + 1) * n / 2, Patience: patience})
	}
	return &Limits{
		addressReads: rates(o.AddressReads), addressWrites: rates(o.AddressWrites),
		tenantReads: rates(o.TenantReads), tenantWrites: rates(o.TenantWrites), nodeCalls: rates(o.NodeCalls),
		reads: slots(), writes: slots(), nodes: slots(),
		barriers: &limit.Counts{Most: mostBarriersOfOne, MostAll: mostBarriers},
		streams:  &limit.Counts{Most: o.StreamsPerSession}, nodeStreams: &limit.Counts{Most: o.StreamsPerNode},
		bodies:    &limit.Counts{Most: mostBodiesOfOne, MostAll: mostBodies},
		strangers: limit.NewRates(limit.RatesOptions{PerSecond: strangerLooks, Burst: strangerBurst, Now: o.Now}),
		doubts:    &limit.Counts{Most: strangerDoubts, MostAll: mostDoubts},
	}
}

// Streams is how many streams of people are open.
func (l *Limits) Streams() int { return l.streams.Len() }

// Running is how many calls of people run or wait for a place.
func (l *Limits) Running() int { return l.reads.Len() + l.writes.Len() }

// The reasons of refusals, as monitoring counts them.
const (
	refusedAddress  = "address_rate"
	refusedTenant   = "tenant_rate"
	refusedNode     = "node_rate"
	refusedStranger = "unknown_callers"
	refusedBusy     = "busy"
	refusedStreams  = "streams"
	refusedBodies   = "message_memory"
	refusedSize     = "message_size"
	refusedSlow     = "slow_watcher"
)

// isRead reports whether a call changes nothing.
func isRead(spec connect.Spec) bool {
	return spec.IdempotencyLevel == connect.IdempotencyNoSideEffects || spec.StreamType == connect.StreamTypeServer
}

// fromAddress asks whether an address may make one more call. Programs of this machine are not counted: a front that
// passes everybody on would be one address.
func (l *Limits) fromAddress(address string, spec connect.Spec) time.Duration {
	key := addressKey(address)
	switch {
	case key == "":
		return 0
	case isRead(spec):
		return l.addressReads.Take(key)
	}
	return l.addressWrites.Take(key)
}

// addressKey is what one party can hardly have many of: an address of IPv4, a /64 of IPv6; "" for this machine.
func addressKey(address string) string {
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return address
	case ip.Unmap().IsLoopback():
		return ""
	case ip.Unmap().Is4():
		return ip.Unmap().String()
	}
	return auth.Network(address)
}

// fromCaller asks whether who has been proven may make one more call, and returns the reason if not.
func (l *Limits) fromCaller(c auth.Caller, spec connect.Spec) (wait time.Duration, reason string) {
	switch {
	case c.Kind == auth.Agent:
		return l.nodeCalls.Take(string(c.Node.ID)), refusedNode
	case !c.IsMember():
		return 0, ""
	case isRead(spec):
		return l.tenantReads.Take(string(c.Tenant)), refusedTenant
	}
	return l.tenantWrites.Take(string(c.Tenant)), refusedTenant
}

// place is where a call runs, and whose it is.
func (l *Limits) place(c auth.Caller, address string, spec connect.Spec) (*limit.Slots, string) {
	switch {
	case c.Kind == auth.Agent:
		return l.nodes, string(c.Node.ID)
	case isRead(spec):
		return l.reads, partyOf(c, address)
	}
	return l.writes, partyOf(c, address)
}

// streamsOf is what counts a caller's open streams, and its key.
func (l *Limits) streamsOf(c auth.Caller, address string) (*limit.Counts, string) {
	switch c.Kind {
	case auth.Agent:
		return l.nodeStreams, string(c.Node.ID)
	case auth.User:
		return l.streams, string(c.Session.ID)
	case auth.Machine:
		return l.streams, string(c.Token.ID)
	case auth.Anonymous:
	}
	return l.streams, address
}

// partyOf is who a call counts for where tenants share something.
func partyOf(c auth.Caller, address string) string {
	switch c.Kind {
	case auth.User, auth.Machine:
		return string(c.Tenant)
	case auth.Agent:
		return string(c.Node.ID)
	case auth.Anonymous:
	}
	return auth.Network(address)
}

func tooOften(whose string, wait time.Duration) error {
	return fault.Exhausted("too many calls from your %s", whose).WithRetryAfter(wait).
		WithFix("slow down; an operator can raise [limits] in server.toml")
}
