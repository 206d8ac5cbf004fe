// Package command is the replicated form of every change: one Go struct with domain types per op of
// gestor.raft.v1.Command, and the way between the two. It decides nothing and checks nothing but the form; what a
// command does is the business of package fsm. Encoding is deterministic, and a test proves that every op of the
// contract survives the way there and back with all its fields.
package command
