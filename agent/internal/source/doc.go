// Package source brings a commit of a repository into a folder, by the git program, under rules.
//
// A repository's address, its refs and all that is in it come from strangers. Addresses are checked here again, whatever
// the server did; git gets them as arguments behind "--", never through a shell; it runs in the sandbox as the app's
// user, without configuration but ours, without hooks, and may speak only the one protocol that the address names. The
// deploy key is on the disk only while git runs.
//
// Of each repository a bare mirror is kept per app, so that the next fetch is small. It is a cache: one that is
// damaged or has grown old is made anew, and the least recently used go when all together pass their budget.
//
// Hosts that resolve to private addresses are refused unless the host's policy names them. This is best effort: git
// resolves the name again, and a name may change in between; the firewall of the host has the last word.
package source
