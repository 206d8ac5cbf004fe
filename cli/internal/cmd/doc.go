// Package cmd is the command tree of gestor, one file per verb. A command turns arguments into calls and answers into
// output; it keeps no state between runs. It reads and writes only through its Env, so that tests run the real
// tree inside their own process.
//
// Guarantees: with --json, standard output is the API's response message as JSON and nothing else; a prompt appears only on a terminal and every
// prompt has a flag that answers it; text from outside is cleaned before it is shown; the exit code follows the table of
// `gestor help exit-codes`.
package cmd
