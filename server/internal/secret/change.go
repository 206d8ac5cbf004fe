package secret

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// ErrReadOnly says that the ring lies where the server cannot write it.
var ErrReadOnly = errors.New("the key ring is kept where the server does not write")

// Key is one key on its way from one ring to another. It is a secret.
type Key struct {
	ID  string // hex
	Raw []byte
}

// String hides the key.
func (k Key) String() string { return "key " + k.ID }

// GoString hides the key from %#v.
func (k Key) GoString() string { return k.String() }

// NewKey makes a key that is in no ring.
func NewKey() Key { return randomKey().export() }

// Line is the key as a ring holds it, a secret.
func (k Key) Line() string { return k.ID + " " + base64.StdEncoding.EncodeToString(k.Raw) }

func (k key) export() Key { return Key{ID: hex.EncodeToString(k.id[:]), Raw: slices.Clone(k.raw)} }

// Source is where the ring is kept.
func (r *Ring) Source() Source { return r.source }

// Writable reports whether the server can change the ring.
func (r *Ring) Writable() bool { return r.source.Kind == KindFile }

// IDs are the keys of the ring, hex, the one that seals last.
func (r *Ring) IDs() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = hex.EncodeToString(k.id[:])
	}
	return ids
}

// Sealing is the id of the key that seals.
func (r *Ring) Sealing() string {
	id := r.last().id
	return hex.EncodeToString(id[:])
}

// Has reports whether the ring has a key.
func (r *Ring) Has(id string) bool { return slices.Contains(r.IDs(), id) }

// Export is a key of the ring, for another server of the installation.
func (r *Ring) Export(id string) (Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	i := r.index(id)
	if i < 0 {
		return Key{}, false
	}
	return r.keys[i].export(), true
}

// Encode is the whole ring as a file holds it, a secret.
func (r *Ring) Encode() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return encode(r.keys)
}

// Add keeps one more key, which opens and does not seal. One that is there already is fine, as long as it is the same.
func (r *Ring) Add(k Key) error {
	id, err := hex.DecodeString(k.ID)
	if err != nil || len(id) != idBytes || len(k.Raw) != KeyBytes {
		return errLine
	}
	fresh, err := newKey([idBytes]byte(id), slices.Clone(k.Raw))
	if err != nil {
		return err
	}
	return r.change(func(keys []key) ([]key, error) {
		if i := r.index(k.ID); i >= 0 {
			if string(keys[i].raw) != string(k.Raw) {
				return nil, fmt.Errorf("the key ring in %s has another key %s", r.source, k.ID)
			}
			return keys, nil
		}
		return slices.Insert(keys, len(keys)-1, fresh), nil
	})
}

// Use makes a key of the ring the one that seals. In a ring that the server cannot write that holds until it ends.
func (r *Ring) Use(id string) error {
	turn := func(keys []key) ([]key, error) {
		i := r.index(id)
		if i < 0 {
			return nil, &MissingKeyError{ID: id, From: r.source.String()}
		}
		k := keys[i]
		return append(slices.Delete(keys, i, i+1), k), nil
	}
	if r.Writable() {
		return r.change(turn)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, err := turn(slices.Clone(r.keys))
	if err == nil {
		r.keys = keys
	}
	return err
}

// RetiredPath is where keys go that a ring at path drops.
func RetiredPath(path string) string { return path + ".retired" }

// Retire takes a key out of the ring and writes it, with the date, into the file of retired keys beside it: what was
// saved before needs it still. One that is not there is fine; the one that seals stays.
func (r *Ring) Retire(id string, at time.Time) error {
	if r.Sealing() == id {
		return fmt.Errorf("the key %s seals", id)
	}
	k, ok := r.Export(id)
	if !ok {
		return nil
	}
	if !r.Writable() {
		return fmt.Errorf("%w: %s", ErrReadOnly, r.source)
	}
	if err := retire(RetiredPath(r.source.Path), k, at); err != nil {
		return fmt.Errorf("retire key %s: %w", id, err)
	}
	return r.change(func(keys []key) ([]key, error) {
		i := r.index(id)
		return slices.Delete(keys, i, i+1), nil
	})
}

// Discard takes a key out that has sealed nothing. One that is not there is fine; the one that seals stays.
func (r *Ring) Discard(id string) error {
	return r.change(func(keys []key) ([]key, error) {
		if i := r.index(id); i >= 0 && i < len(keys)-1 {
			return slices.Delete(keys, i, i+1), nil
		}
		return keys, nil
	})
}

// retire adds a key to the file of retired ones, unless it is there.
func retire(path string, k Key, at time.Time) error {
	old, err := read(path)
	if errors.Is(err, os.ErrNotExist) {
		old, err = []byte("# Keys that seal nothing any more. Backups from before the dates need them: keep them as you keep those.\n"), nil
	}
	if err != nil {
		return err
	}
	if strings.Contains(string(old), k.Line()) {
		return nil
	}
	entry := "# retired " + at.UTC().Format(time.RFC3339) + "\n" + k.Line() + "\n"
	return write(path, append(old, entry...), false)
}

// OpenWithRetired reads the ring at path with the retired keys beside it, for what was saved before they were.
func OpenWithRetired(path string) (*Ring, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := read(RetiredPath(path))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	retired, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("retired keys %s: %w", RetiredPath(path), err)
	}
	for _, k := range retired {
		if _, known := r.find(k.id); !known {
			r.keys = slices.Insert(r.keys, len(r.keys)-1, k)
		}
	}
	return r, nil
}

// change writes what turn makes of the keys before it counts. turn runs under the lock and gets a copy.
func (r *Ring) change(turn func([]key) ([]key, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, err := turn(slices.Clone(r.keys))
	if err != nil || slices.EqualFunc(keys, r.keys, func(a, b key) bool { return a.id == b.id }) {
		return err
	}
	if !r.Writable() {
		return fmt.Errorf("%w: %s", ErrReadOnly, r.source)
	}
	if err := write(r.source.Path, encode(keys), false); err != nil {
		return fmt.Errorf("change key ring: %w", err)
	}
	r.keys = keys
	return nil
}

// index is where a key is; r.mu is held.
func (r *Ring) index(id string) int {
	return slices.IndexFunc(r.keys, func(k key) bool { return hex.EncodeToString(k.id[:]) == id })
}
