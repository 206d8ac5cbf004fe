// Package herd simulates agents by the thousand in one process: each enrols for real, with a key, a join token and a
// certificate of its own, and holds a real control session over its own TLS connection. What it does not do is work: a
// task is reported as begun and as succeeded the moment it arrives.
//
// It is for measuring what many agents cost the control servers, and for keeping these busy in tests.
package herd
