package pki

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"sync"
	"time"
)

// ResumeSessions makes config issue and take TLS session tickets that every server of the cluster takes, also after a
// restart: their keys are derived from the servers' root and the date (UTC), so that none is stored or exchanged. A
// ticket is good until the end of the day after the one it was made on. What a session proved is verified again when it
// is resumed, by config's VerifyConnection.
//
// A copy of config made later does the same.
func ResumeSessions(config *tls.Config, root *Root, now func() time.Time) {
	t := &tickets{root: root, now: now}
	config.WrapSession = func(s tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		keys, err := t.current()
		if err != nil {
			return nil, err
		}
		return keys.EncryptTicket(s, session)
	}
	config.UnwrapSession = func(ticket []byte, s tls.ConnectionState) (*tls.SessionState, error) {
		keys, err := t.current()
		if err != nil {
			return nil, err
		}
		return keys.DecryptTicket(ticket, s)
	}
}

// tickets are the keys of a day. A configuration of their own holds them, because only it knows the form of tickets.
type tickets struct {
	root *Root
	now  func() time.Time

	mu   sync.Mutex
	day  string      // guarded by mu
	keys *tls.Config // guarded by mu
}

// current holds today's key, with which tickets are made, and takes yesterday's, and tomorrow's of servers whose clocks
// are ahead.
func (t *tickets) current() (*tls.Config, error) {
	now := t.now().UTC()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys != nil && t.day == now.Format(time.DateOnly) {
		return t.keys, nil
	}
	var keys [][32]byte
	for _, days := range []int{0, -1, 1} {
		key, err := t.root.ticketKey(now.AddDate(0, 0, days))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	t.day, t.keys = now.Format(time.DateOnly), &tls.Config{MinVersion: tls.VersionTLS13}
	t.keys.SetSessionTicketKeys(keys)
	return t.keys, nil
}

// ticketKey is the key of a day.
func (r *Root) ticketKey(day time.Time) ([32]byte, error) {
	secret, err := r.key.Bytes()
	if err != nil {
		return [32]byte{}, err
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "gestor tls session tickets "+day.Format(time.DateOnly), 32)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(key), nil
}
