// Package auditlog is the audit log outside of the servers: one entry as a line of JSON, and the chain of hashes over the
// entries, as servers make it and as anybody can check it. It reads no state and asks no server.
//
// The hash of an entry is the SHA-256 of the 32 bytes of the hash before it, then the fields of Line in the order of
// Line.fields, each as "<length in bytes>:<the bytes>,". Numbers are decimal, the time is in nanoseconds since 1970, claims are
// "0" or "1", and JSON is taken as it stands. Before the first entry of all there are 32 zero bytes.
//
// An entry that is masked, because it is of somebody else, is only checked to stand in its place.
//
// A chain shows that nothing was changed, left out, put in or moved within it. It cannot show that entries are missing at
// its end: for that, note the head that a check prints and give it to the next one.
package auditlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
)

// Form is the form of hashes that servers make now. 0 stands for none: the entry is from before there were hashes.
const Form = 1

// Size is the length of hashes, in bytes.
const Size = sha256.Size

// Line is an entry.
type Line struct {
	Seq       int64           `json:"seq"`
	Year      int             `json:"year,omitempty"` // whose chain it is in
	At        time.Time       `json:"at"`
	Tenant    string          `json:"tenant,omitempty"`
	Kind      string          `json:"actor_kind"` // "user", "token", "agent", "system", "anonymous"
	Actor     string          `json:"actor_id,omitempty"`
	Name      string          `json:"actor,omitempty"`
	Home      string          `json:"actor_tenant,omitempty"`
	Session   string          `json:"session,omitempty"`
	Token     string          `json:"token,omitempty"`
	Address   string          `json:"address,omitempty"`
	UserAgent string          `json:"user_agent,omitempty"`
	Reference string          `json:"reference,omitempty"` // of the request, as the logs of the servers have it
	Operator  bool            `json:"operator,omitempty"`  // acted for the installation
	Action    string          `json:"action"`
	Object    string          `json:"object,omitempty"`
	Severity  string          `json:"severity,omitempty"`
	Outcome   string          `json:"outcome,omitempty"` // "done", "refused"
	Detail    json.RawMessage `json:"detail,omitempty"`
	Before    json.RawMessage `json:"before,omitempty"`
	After     json.RawMessage `json:"after,omitempty"`
	Request   string          `json:"request_id,omitempty"`
	Masked    bool            `json:"masked,omitempty"`   // what it is about is left out, so that its hash cannot be made again
	Form      int             `json:"form,omitempty"`     // of the hash
	Previous  Hash            `json:"previous,omitempty"` // hash
	Hash      Hash            `json:"hash,omitempty"`
}

// Hash is the hash of an entry; empty for none.
type Hash []byte //nolint:recvcheck // text is read into it, so that has to have a pointer

// MarshalText writes h in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = nil
		return nil
	}
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != Size {
		return fmt.Errorf("%.80q is no hash of an entry", text)
	}
	*h = b
	return nil
}

// String is h in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h) }

// errForm is for hashes of a newer program.
var errForm = errors.New("the form of its hash is not known; use a newer gestor")

// Sum is the hash that the entry must have behind the hash previous.
func (l *Line) Sum(previous Hash) (Hash, error) {
	if l.Form != Form {
		return nil, errForm
	}
	sum := sha256.New()
	before := make([]byte, Size)
	copy(before, previous)
	_, _ = sum.Write(before) // a hash takes all, here and below
	buf := make([]byte, 0, 64)
	for _, field := range l.fields() {
		buf = write(sum, buf, field)
	}
	return sum.Sum(nil), nil
}

func write(to hash.Hash, buf []byte, field string) []byte {
	buf = append(strconv.AppendInt(buf[:0], int64(len(field)), 10), ':')
	_, _ = to.Write(buf)
	_, _ = io.WriteString(to, field)
	_, _ = to.Write([]byte{','})
	return buf
}

// fields are what the hash of form 1 is over, in this order for ever.
func (l *Line) fields() []string {
	operator := "0"
	if l.Operator {
		operator = "1"
	}
	return []string{
		strconv.Itoa(l.Form), strconv.FormatInt(l.Seq, 10), strconv.Itoa(l.Year), strconv.FormatInt(nanos(l.At), 10), l.Tenant,
		l.Kind, l.Actor, l.Name, l.Home, l.Session, l.Token, l.Address, l.UserAgent, l.Reference, operator,
		l.Action, l.Object, l.Severity, l.Outcome, string(l.Detail), string(l.Before), string(l.After), l.Request,
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
