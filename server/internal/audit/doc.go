// Package audit keeps the audit log beyond what the state machine does: it gathers refused attempts and writes them without
// letting anybody make the cluster write (Attempts), checks the chain of hashes (Check), and takes old years out of the state
// into artifacts (Archive, OpenArchive).
//
// What a change did is written by the state machine itself, in the command of the change; see the package fsm. Who may read
// what is the api's to know.
package audit
