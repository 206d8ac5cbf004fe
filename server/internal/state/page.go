package state

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// The sizes of pages: what 0 means, and the most there is.
const (
	defaultPage = 50
	maxPage     = 500
)

// order is how a list is sorted: by a column and then by the id, one way or the other.
type order[T any] struct {
	by   string
	desc bool
	key  func(T) cursor
}

// cursor is a place in a sorted list. Its text is the opaque token of pages.
type cursor struct {
	Number int64  `json:"n,omitempty"` // of a column with times or numbers
	Text   string `json:"t,omitempty"` // of a column with text
	ID     string `json:"i"`
}

func (c cursor) token() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("a cursor is text and a number: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(token string) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, fault.Invalid("page.token", "the token is not from this list").WithCause(err)
	}
	return c, nil
}

func (c cursor) sorted() any {
	if c.Text != "" {
		return c.Text
	}
	return c.Number
}

// list reads one page of the values that fit the rest of the condition, and the token of the next page, if any.
func list[T any](ctx context.Context, v *View, t *table[T], o order[T], page gestor.Page, rest string, args ...any) ([]T, string, error) {
	size := page.Size
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	compare, direction := ">", "ASC"
	if o.desc {
		compare, direction = "<", "DESC"
	}
	if page.Token != "" {
		after, err := parseCursor(page.Token)
		if err != nil {
			return nil, "", err
		}
		rest += " AND (" + o.by + ", id) " + compare + " (?, ?)"
		args = append(args, after.sorted(), after.ID)
	}
	rest += " ORDER BY " + o.by + " " + direction + ", id " + direction + " LIMIT ?"
	found, err := many(ctx, v, t, rest, append(args, size+1)...)
	if err != nil {
		return nil, "", err
	}
	if len(found) <= size {
		return found, "", nil
	}
	return found[:size], o.key(found[size-1]).token(), nil
}
