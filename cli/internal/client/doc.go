// Package client knows how to reach a server: the contexts a person has stored, the roots and the bearer token that go
// with them, one connection per command, and streams that survive the end of a server. It shows nothing.
//
// Guarantees: the contexts file is readable by its owner alone and replaced atomically; a token or password is sent
// only over TLS to a server whose certificate leads to the context's roots; a server met for the first time is trusted
// only by the system's roots, by a pin, or by a person.
package client
