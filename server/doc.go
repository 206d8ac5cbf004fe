// Package server is the control server as a value: New opens everything, Run serves until its context ends, Close gives
// everything back. It only puts the parts together; what they do is in the packages below internal.
package server
