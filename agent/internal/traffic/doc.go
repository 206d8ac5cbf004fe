// Package traffic makes nginx serve apps: it renders configuration from typed values, has nginx check it, swaps it in
// as a whole, and knows when the new one answers and when the last request of the old one has ended.
//
// In mode system it adds to the host's own nginx; in mode managed it runs an nginx of its own, for hosts without
// systemd. It does not know releases: the link that is the root of a static app is changed without it.
//
// Guarantees: nothing a person typed reaches the configuration unless it is inside a small alphabet; a configuration
// that nginx refuses is never live; after an error the last good one is; Apply returns only when requests are answered
// by the new configuration. A tree of files is written per generation, and the link "live" names the one in use.
package traffic
