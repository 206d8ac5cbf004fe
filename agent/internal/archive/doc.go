// Package archive turns a folder into a tar.zst and a tar.zst into a folder.
//
// Both sides are given an *os.Root and touch nothing outside of it. A packed archive depends on nothing but the tree
// and the options: entries are sorted, owned by nobody, with one time and normal modes. An archive to unpack is hostile
// until it is through: whatever is not a plain file, a folder or a link that stays inside is refused, as are
// archives that are larger, deeper or denser than the limits.
//
// The package neither decides where a tree lives nor cleans up behind itself: a failed Unpack leaves a partial tree
// that its caller removes. Nothing is on the disk for sure before SyncTree.
package archive

import (
	"fmt"
	"path"
	"strings"
)

// Summary is what went into an archive, or came out of one.
type Summary struct {
	// Digest is the SHA-256 of the compressed archive, hex.
	Digest string
	// Bytes is the size of the compressed archive.
	Bytes int64
	// Unpacked is the sum of the sizes of all files.
	Unpacked int64
	// Files counts the entries: files, folders and links.
	Files int64
}

// checkLink refuses link targets that leave the tree when the link at name is followed. Only leading ".." are
// understood: behind a name, ".." may mean another folder than it seems to, since the name may be a link itself.
func checkLink(name, target string) error {
	if target == "" || path.IsAbs(target) {
		return fmt.Errorf("%s is a link to %q, which is not inside the tree: only relative links are kept", name, target)
	}
	depth := strings.Count(name, "/")
	descending := false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
			if descending || depth < 0 {
				return fmt.Errorf("%s is a link to %q, which leads out of the tree", name, target)
			}
		default:
			descending = true
		}
	}
	return nil
}
