// Package lab makes hosts out of network namespaces of this machine: each has one address, all are joined by a router,
// and this machine itself is one more host, under the name Here. What goes from one host to another can be dropped
// at the router, in one direction or both, without a word to either side, as a cable that is cut or a firewall would.
//
// A Network has a range of private addresses and names of its own, so several fit beside each other. It is taken down with
// Close. What a killed process left behind is taken down when the next Network is opened.
package lab
