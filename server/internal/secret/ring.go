// Package secret keeps values that must be stored but not read: it seals them with AES-256-GCM under a key from a ring
// that lies outside the replicated state: a 0600 file, a systemd credential, or the environment. Each sealed value names
// its key, so a new key can take over while old values stay readable. The package never logs and never puts a key or a
// plaintext in an error. Who holds the ring holds the secrets; a backup without it holds none.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// KeyBytes is the size of a key: AES-256.
const KeyBytes = 32

// idBytes is the size of a key's id.
const idBytes = 4

// format opens every sealed value; another number is another construction.
const format = 1

// Ring seals with its last key and opens with any. It is safe for concurrent use; what changes it is on disk when it
// returns.
type Ring struct {
	source Source

	mu   sync.RWMutex
	keys []key // guarded by mu; the last one seals
}

type key struct {
	id   [idBytes]byte
	aead cipher.AEAD
	raw  []byte
}

// MissingKeyError says that a value was sealed with a key that is not in the ring.
type MissingKeyError struct {
	ID   string // the key's id, hex
	From string // the ring: "the file /var/lib/gestor/keyring"
}

// Error says which key is missing where, and how to get it back.
func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("the key %s that sealed this value is not in %s; put it back there from the copy that was kept, or set the value anew", e.ID, e.From)
}

// ErrCorrupt says that a sealed value was changed, cut, or belongs to something else.
var ErrCorrupt = errors.New("the sealed value is damaged or belongs to something else")

// Seal encrypts plaintext. The same aad ("app_1/env/TOKEN") must be given to Open, so that a sealed value cannot be moved
// to another place.
func (r *Ring) Seal(plaintext []byte, aad string) []byte {
	k := r.last()
	out := make([]byte, 0, 1+idBytes+k.aead.NonceSize()+len(plaintext)+k.aead.Overhead())
	out = append(out, format)
	out = append(out, k.id[:]...)
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails: see crypto/rand
	out = append(out, nonce...)
	return k.aead.Seal(out, nonce, plaintext, header(k.id, aad))
}

// Open decrypts what Seal made with the same aad. It returns a *MissingKeyError or ErrCorrupt.
func (r *Ring) Open(sealed []byte, aad string) ([]byte, error) {
	id, ok := keyOf(sealed)
	if !ok {
		return nil, ErrCorrupt
	}
	k, ok := r.find(id)
	if !ok {
		return nil, &MissingKeyError{ID: hex.EncodeToString(id[:]), From: r.source.String()}
	}
	rest := sealed[1+idBytes:]
	if len(rest) < k.aead.NonceSize() {
		return nil, ErrCorrupt
	}
	nonce, box := rest[:k.aead.NonceSize()], rest[k.aead.NonceSize():]
	plaintext, err := k.aead.Open(nil, nonce, box, header(id, aad))
	if err != nil {
		return nil, ErrCorrupt
	}
	return plaintext, nil
}

// header binds format, key and place to the box.
func header(id [idBytes]byte, aad string) []byte {
	h := append([]byte{format}, id[:]...)
	return append(h, aad...)
}

// KeyOf is the id, hex, of the key that sealed a value; false for what no ring has sealed.
func KeyOf(sealed []byte) (string, bool) {
	id, ok := keyOf(sealed)
	return hex.EncodeToString(id[:]), ok
}

func keyOf(sealed []byte) (id [idBytes]byte, ok bool) {
	if len(sealed) < 1+idBytes || sealed[0] != format {
		return id, false
	}
	return [idBytes]byte(sealed[1 : 1+idBytes]), true
}

func (r *Ring) last() key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[len(r.keys)-1]
}

func (r *Ring) find(id [idBytes]byte) (key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.keys {
		if k.id == id {
			return k, true
		}
	}
	return key{}, false
}

func newKey(id [idBytes]byte, raw []byte) (key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, fmt.Errorf("key %x: %w", id, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return key{}, fmt.Errorf("key %x: %w", id, err)
	}
	return key{id: id, aead: aead, raw: raw}, nil
}

func randomKey() key {
	var id [idBytes]byte
	raw := make([]byte, KeyBytes)
	_, _ = rand.Read(id[:]) // never fails: see crypto/rand
	_, _ = rand.Read(raw)
	k, err := newKey(id, raw)
	if err != nil {
		panic("secret: a random key is no key: " + err.Error())
	}
	return k
}

// String hides the keys from logs and debuggers.
func (r *Ring) String() string {
	return fmt.Sprintf("key ring of %d keys in %s", len(r.IDs()), r.source)
}

// GoString hides the keys from %#v.
func (r *Ring) GoString() string { return r.String() }

// encode writes one key a line: "<id hex> <key base64>".
func encode(keys []key) []byte {
	var b strings.Builder
	b.WriteString("# Keys of a Gestor server. Who has this file can read all secrets; without it they are lost.\n")
	for _, k := range keys {
		fmt.Fprintf(&b, "%x %s\n", k.id, base64.StdEncoding.EncodeToString(k.raw))
	}
	return []byte(b.String())
}
