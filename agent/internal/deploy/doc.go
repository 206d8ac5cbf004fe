// Package deploy carries out the five kinds of task that make a release live on a host: prepare, switch, watch, retire
// and remove. It puts together package release (files), process (programs) and traffic (nginx), and decides the order
// of their effects; it neither builds nor talks to servers.
//
// The order, for a program: the new release is unpacked beside the live one and started on a port of its own, and must
// be healthy there; nginx is pointed at it; when requests reach it the link current follows; only when the deployment
// has passed its watch is the old program asked to end, after nginx let go of it. For static files the link alone is
// the switch.
//
// Guarantees: no step of a prepare touches what is live; an error leaves the old release serving, or the new one where
// it already did; every task may be cut off anywhere and run again; a switch whose fence is below one seen has no effect.
package deploy
