// Package gestor is the domain: the nouns of the product, their states with the legal transitions, and what makes
// a value valid. Everything here is a plain value, copied and never shared, without clock, randomness, I/O, SQL or
// protobuf. It imports the standard library and proto/fault.
package gestor
