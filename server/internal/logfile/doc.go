// Package logfile keeps the server's log files: app.log with everything that is logged, error.log with warnings and
// worse, access.log with a line for each request, and audit/ with a mirror of the audit log.
//
// Guarantees. A line is one JSON object. Nobody waits for a disk: lines that it does not take in time are dropped and
// counted, except those of the audit mirror, which is written again from the state until it is there, each entry once.
// Files are turned over by size and age, and opened anew after Reopen, for programs that move them away.
package logfile
