// Package clitest is a scripted server for tests of the command line: the generated handlers over real TLS with a root
// of its own, answering from a state that a test sets and remembering who called what. It may be several
// servers of one cluster, each of which can be killed, fall silent or miss its leader. It keeps no rules of the
// product; what it says is what the script says.
package clitest
