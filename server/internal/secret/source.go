package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kind is where a ring is kept.
type Kind string

// The kinds of places, in the order in which they are asked.
const (
	KindCredential  Kind = "credential"  // a credential that systemd hands over; not written by the server
	KindEnvironment Kind = "environment" // a variable; not written by the server
	KindFile        Kind = "file"        // a private file; written by the server
)

// CredentialName is what the credential is called: LoadCredential=gestor-keyring:/…
const CredentialName = "gestor-keyring" //nolint:gosec // a name

// Variable is the environment variable that may hold a ring.
const Variable = "GESTOR_KEYRING"

// Source is where a ring came from.
type Source struct {
	Kind Kind
	Path string // of a file or a credential
}

// String names the source for people.
func (s Source) String() string {
	if s.Kind == KindEnvironment {
		return "the environment variable " + Variable
	}
	return "the " + string(s.Kind) + " " + s.Path
}

// Places are where a server may have its ring.
type Places struct {
	Credentials string // the directory systemd names in CREDENTIALS_DIRECTORY; empty for none
	Environment string // what was in Variable; empty for none
	File        string // the file that is used if there is neither; also read beside them, to see that they agree
}

// ErrNone says that none of the places holds a ring. It is an fs.ErrNotExist.
var ErrNone = fmt.Errorf("there is no key ring: %w", fs.ErrNotExist)

// Load reads the ring from the first of the places that has one: credential, environment, file. Two that have different
// ones are an error, because nobody could say which of them counts.
func (p Places) Load() (*Ring, error) {
	var found []*Ring
	for _, read := range []func() (*Ring, error){p.credential, p.environment, p.file} {
		ring, err := read()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, ring)
	}
	if len(found) == 0 {
		return nil, ErrNone
	}
	for _, other := range found[1:] {
		if !bytes.Equal(encode(other.keys), encode(found[0].keys)) {
			return nil, fmt.Errorf("%s and %s hold different key rings; make them equal, or remove one of them, and keep a copy of both",
				found[0].source, other.source)
		}
	}
	return found[0], nil
}

func (p Places) credential() (*Ring, error) {
	if p.Credentials == "" {
		return nil, fs.ErrNotExist
	}
	// The directory is the service's own, and systemd has put the file there with the mode of its choice.
	path := filepath.Join(p.Credentials, CredentialName)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	return decode(raw, Source{Kind: KindCredential, Path: path})
}

func (p Places) environment() (*Ring, error) {
	if p.Environment == "" {
		return nil, fs.ErrNotExist
	}
	lines := strings.ReplaceAll(p.Environment, ",", "\n") // a variable is one line in most files
	return decode([]byte(lines), Source{Kind: KindEnvironment})
}

func (p Places) file() (*Ring, error) {
	if p.File == "" {
		return nil, fs.ErrNotExist
	}
	return Open(p.File)
}

func decode(raw []byte, from Source) (*Ring, error) {
	keys, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("key ring in %s: %w", from, err)
	}
	return &Ring{keys: keys, source: from}, nil
}

// TakeVariable returns what Variable holds and wipes it out of the process: children do not inherit it, and /proc shows
// blanks where it was. Whoever looked before that has seen it, which is why a credential is better.
func TakeVariable() string {
	value := os.Getenv(Variable)
	if value == "" {
		return ""
	}
	_ = os.Unsetenv(Variable) // fails for names without a meaning only
	wipe([]byte(Variable + "=" + value))
	return value
}

// wipe blanks out an entry of the environment that the kernel shows in /proc/self/environ: the memory that it laid out at
// the start, of which the program has a copy. Where that cannot be done the entry stays, for the user of the process to see.
func wipe(entry []byte) {
	start, end := environment()
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil || start >= end || end-start > maxEnvironment {
		return
	}
	defer func() { _ = mem.Close() }() // nothing is buffered
	block := make([]byte, end-start)
	if _, err := mem.ReadAt(block, start); err != nil {
		return
	}
	if at := bytes.Index(block, entry); at >= 0 {
		_, _ = mem.WriteAt(bytes.Repeat([]byte{' '}, len(entry)), start+int64(at)) // it stays if this fails
	}
}

// maxEnvironment is more than a kernel gives a process.
const maxEnvironment = 16 << 20

// The fields of /proc/self/stat after the program's name, counted from 0.
const (
	fieldEnvStart = 47
	fieldEnvEnd   = 48
)

// environment is where the kernel laid the environment out, 0 and 0 if that is not to be known.
func environment() (start, end int64) {
	raw, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) <= fieldEnvEnd {
		return 0, 0
	}
	start, _ = strconv.ParseInt(fields[fieldEnvStart], 10, 64) // 0 where it is no number
	end, _ = strconv.ParseInt(fields[fieldEnvEnd], 10, 64)
	return start, end
}
