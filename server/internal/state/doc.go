// Package state is the product's state in one SQLite database: its schema, the reads, which go through a View bound to
// a scope, and the writes, which only a Txn makes. It decides nothing; what a change means is the business of package
// fsm, which holds the only Txn at any time.
//
// Guarantees: a View never returns a row of a tenant outside its scope (the condition is part of every statement, and
// the zero scope sees nothing); a reader sees whole transactions only; a Subscription is signalled after the commit
// that touched one of its tables. It does not promise durability: the database is written without syncing and is made
// anew from a snapshot and the Raft log at every start.
package state
