// Package servertest runs clusters of real control servers in one process and does to them what the world does:
// it kills and restarts them, cuts and delays the network between them, stops them for a while and turns their clocks.
//
// What runs is the product: server.New with its own data directory, ports and certificates for each server; people and
// agents come in through the public port. Only the network below TLS is ours (Network), and the agents are scripted
// (FakeAgent), because what they do to their hosts has to be counted.
package servertest
