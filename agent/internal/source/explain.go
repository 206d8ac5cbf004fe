package source

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
)

// explain makes of git's words an error for people. Its words are matched because it has no codes.
func (s *session) explain(ctx context.Context, command, said string, exit process.Exit) error {
	repository := s.r.Source.GetRepository()
	switch {
	case says(said, "smudge filter lfs failed"):
		return explainLFS(said)
	case says(said, "host key verification failed", "no .* host key is known"):
		return s.unknownHost("the host %s showed an ssh key that is not in the app's known hosts", s.addr.Host)
	case says(said, "couldn't find remote ref", "not our ref", "unadvertised object"):
		return s.refNotFound(ctx)
	case says(said, `permission denied \(`):
		return fault.Denied("the host %s did not accept the app's deploy key", s.addr.Host).
			WithFix("add the app's deploy key to the repository %s", repository)
	case says(said, "could not read username", "could not read password", "authentication failed", "returned error: 40[13]"):
		return fault.Denied("the repository %s does not exist or needs a login", repository).
			WithFix("check the address; for a private repository use its ssh address and add the app's deploy key to it")
	case says(said, "repository .* not found", "does not appear to be a git repository", "project .* could not be found",
		"returned error: 404", "repository not found", "repository .* does not exist"):
		return fault.NotFound("there is no repository at %s", repository).WithFix("check the address")
	case says(said, "unable to update url base from redirection", "returned error: 30[1278]"):
		return fault.Conflict("the repository %s has moved", repository).WithFix("use its new address")
	case says(said, "ssl certificate problem", "certificate verif", "server certificate"):
		return fault.Denied("the certificate of %s is not trusted by this host", s.addr.Host)
	case says(said, "protocol '.*' not supported", "transport '.*' not allowed"):
		return fault.Denied("the source asks for an address that may not be used").
			WithFix("submodules must use the same protocol as the app's repository")
	case says(said, "no space left on device", "disk quota exceeded"):
		return fault.Exhausted("the disk of this host is full")
	case says(said, "bad object", "object file .* is empty", "loose object .* corrupt", "packfile .* (not|cannot)",
		"not a git repository", "bad config", "missing (blob|tree|commit)", "unable to read tree", "index-pack failed",
		"unable to (read|parse|find)", "reference broken", "missing object"):
		return &damagedError{fault.Unavailable("the source cannot be read: %s", lastLine(said))}
	case saysUnreachable(said):
		return task.Retryable(fault.Unavailable("the host %s of the repository cannot be reached", s.addr.Host).
			WithCause(fmt.Errorf("%s", lastLine(said))))
	default:
		return fmt.Errorf("git %s ended with exit code %d: %s", command, exit.Code, lastLine(said))
	}
}

func saysUnreachable(said string) bool {
	return says(said, "could not resolve host", "connection (refused|timed out|reset|closed)", "timed? ?out", "unreachable",
		"failed to connect", "couldn't connect", "early eof", "hung up", "returned error: 5", "rpc failed", "no route")
}

// explainLFS tells which large file is at fault.
func explainLFS(said string) error {
	why := lastLine(said)
	for line := range strings.Lines(said) {
		if _, rest, ok := strings.Cut(line, "Smudge error: "); ok {
			why = strings.TrimSpace(rest)
		}
	}
	err := fault.Unavailable("git LFS could not fetch a large file: %s", why).
		WithFix("check that the file was pushed to LFS, with \"git lfs push --all\" from a clone that has it")
	if saysUnreachable(said) {
		return task.Retryable(err)
	}
	return err
}

func says(said string, patterns ...string) bool {
	return regexp.MustCompile("(?i)" + strings.Join(patterns, "|")).MatchString(said)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	return strings.TrimPrefix(last, "fatal: ")
}

// refNotFound names refs that were perhaps meant.
func (s *session) refNotFound(ctx context.Context) error {
	ref := s.r.Source.GetRef()
	if ref == "" {
		return fault.NotFound("the repository is empty: it has no commit yet").WithFix("push something, then try again")
	}
	e := fault.NotFound("there is no branch, tag or commit %q in %s", ref, s.r.Source.GetRepository())
	if regexp.MustCompile(`^[0-9a-f]{4,39}$`).MatchString(ref) {
		return e.WithFix("name a commit by all of its 40 characters")
	}
	out, err := s.remote(ctx, "ls-remote", "--heads", "--tags", "--refs", "--end-of-options", s.addr.URL)
	if err != nil {
		return e
	}
	if near := nearest(ref, refNames(out)); len(near) > 0 {
		return e.WithFix("did you mean %s?", strings.Join(near, " or "))
	}
	return e
}

func refNames(lsRemote string) []string {
	var names []string
	for line := range strings.Lines(lsRemote) {
		_, ref, _ := strings.Cut(strings.TrimSpace(line), "\t")
		for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
			if name, ok := strings.CutPrefix(ref, prefix); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// nearest are at most three names that look like ref.
func nearest(ref string, names []string) []string {
	type scored struct {
		name string
		cost int
	}
	var near []scored
	for _, name := range names[:min(len(names), 5000)] {
		if len(name) > 250 {
			continue
		}
		cost := distance(strings.ToLower(ref), strings.ToLower(name))
		if cost <= max(2, len(ref)/3) {
			near = append(near, scored{name, cost})
		}
	}
	slices.SortFunc(near, func(a, b scored) int { return cmp.Or(a.cost-b.cost, cmp.Compare(a.name, b.name)) })
	var out []string
	for _, n := range near[:min(len(near), 3)] {
		out = append(out, n.name)
	}
	return slices.Compact(out)
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
