// Package logs carries what tasks and apps print to the control servers.
//
// Raw output is cleaned (UTF-8, no control sequences but colours), freed of secrets, split into lines of at most 16 KiB
// and spooled on disk per task; a Pusher sends the spool while there is a session, and what is acknowledged is dropped.
// Apps' log files are followed without a spool. The package does not know what a task is.
//
// Guarantees: memory is bounded whatever is printed; a secret known when its log was opened does not reach the disk or
// the wire, in any of the forms Redactor knows, however its bytes are split over writes; when the spool is full
// the oldest lines go first and a line says so; sequence numbers only grow, also across restarts of the agent.
package logs
