// Package output puts results in front of people and programs: aligned tables, fields, human times and sizes, and
// stable JSON. Everything that comes from outside (names, messages, log lines) loses its control and escape sequences
// on the way, because a log line must not be able to move the cursor or rename a window; text of our own passes
// through the type Styled. The package decides nothing and calls nobody.
package output
