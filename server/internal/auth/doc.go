// Package auth knows who may do what: it hashes and checks passwords, makes bearer tokens, slows down guessing, and
// holds the one table of what each role may do. It stores nothing; sessions and users live in the state. Nothing in it
// logs or returns a password or a token.
package auth
