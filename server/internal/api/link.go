package api

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Links makes what people are sent and what it stands for. What a link says is sealed into it, so that asking for one writes
// nothing; it is worth nothing once the credentials it was made for have changed (see gestor.User.Stamp).
type Links struct {
	Vault     Vault
	PublicURL string // under which browsers reach this installation
}

// linkPlace binds what is sealed to links, linkPurpose to one sort of them.
const linkPlace = "account link"

type linkPurpose string

const (
	linkReset linkPurpose = "reset"
	linkEmail linkPurpose = "email"
)

// How long links last.
const (
	resetLinkTTL      = time.Hour      // of those that people ask for
	adminResetLinkTTL = 24 * time.Hour // of those that administrators make
	emailLinkTTL      = 24 * time.Hour
)

// link is what a link says.
type link struct {
	Purpose linkPurpose   `json:"purpose"`
	User    gestor.UserID `json:"user"`
	Stamp   []byte        `json:"stamp"`
	Email   string        `json:"email"` // who has the link has read this mailbox; empty if it was shown to somebody else
	Ends    time.Time     `json:"ends"`
}

// path is where the page for a link is.
func (p linkPurpose) path() string {
	if p == linkEmail {
		return "/confirm"
	}
	return "/reset"
}

// seal is the address of a link. What is secret stands behind the #, which browsers keep from servers and their logs.
func (l Links) seal(v link) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fault.Wrap(err, "write a link")
	}
	return l.PublicURL + v.Purpose.path() + "#" + base64.RawURLEncoding.EncodeToString(l.Vault.Seal(plain, linkPlace)), nil
}

// invite is the address of an invitation's link.
func (l Links) invite(secret string) string { return l.PublicURL + "/invite#" + secret }

// badLink is one answer to every link that is not good.
func badLink() *fault.Error {
	return fault.Unauthenticated("the link is not valid any more").WithFix("ask for a new one")
}

// open reads what stands behind the # of a link.
func (l Links) open(text string, purpose linkPurpose, now time.Time) (link, error) {
	var v link
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return v, badLink().WithCause(err)
	}
	plain, err := l.Vault.Open(sealed, linkPlace)
	if err != nil {
		return v, badLink().WithCause(err)
	}
	if err := json.Unmarshal(plain, &v); err != nil {
		return link{}, badLink().WithCause(err)
	}
	if v.Purpose != purpose || !now.Before(v.Ends) {
		return link{}, badLink()
	}
	return v, nil
}
