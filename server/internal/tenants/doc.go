// Package tenants ends what operators have deleted: when a tenant's time in the trash is over, it takes the tenant's apps off
// their nodes by the ordinary removal, and then removes everything else that the state has of the tenant. What a tenant may
// do before that is not its business: the state machine knows.
//
// Guarantees. Nothing of a tenant is touched before its time in the trash is over by the time the servers agree on, nor while
// that time is in doubt. It looks at the state and remembers nothing, so a new leader goes on where the old one was. A node
// of the tenant that is lost holds the end up for a day, then it is forgotten; a node that others share with the tenant is
// waited for.
package tenants
