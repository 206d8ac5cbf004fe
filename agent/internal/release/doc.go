// Package release owns the directory of an app under the deploy root and decides which release is live there.
//
//	/home/deploy/<app>/                 root's, others may pass through
//	  current -> releases/<name>        replaced by rename, never missing while it changes
//	  releases/<name>/                  root's, read-only for the app
//	  releases/.<name>.json             says that the release is complete, with its digest
//	  releases/.<name>.env              the variables it runs with, 0640 root:<app>
//	  releases/.fence                   the highest fence that changed current
//	  releases/current -> ../current    the documented path
//	  shared/                           survives releases
//	    uploads/                        the app's own
//	    logs/                           the app may write, but not replace our app.log (sticky)
//	    .env                            0640 root:<app>
//
// Files that did not change from one release to the next may be hard links to one file; nobody writes into releases.
//
// It starts nothing and fetches nothing: the content of a release is filled in by a function of the caller.
//
// Guarantees: whatever happens between two system calls, current names a complete release, the old or the new; a
// release that List shows is complete, also after a loss of power; an Activate with a fence below one seen before has no effect; every path is
// resolved inside the app's directory (os.Root), so no link leads out of it.
package release
