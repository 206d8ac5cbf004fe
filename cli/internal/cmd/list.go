package cmd

import (
	"crypto/rand"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// pageSize is the largest page the server gives.
const pageSize = 500

// collect reads pages until it has limit items, all of them if limit is 0.
func collect[T any](limit int, fetch func(*gestorv1.PageRequest) ([]T, *gestorv1.PageResponse, error)) ([]T, error) {
	var all []T
	page := &gestorv1.PageRequest{Size: pageSize}
	if limit > 0 {
		page.Size = int32(min(limit, pageSize))
	}
	for {
		items, next, err := fetch(page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if limit > 0 && len(all) >= limit {
			return all[:limit], nil
		}
		if next.GetNextToken() == "" {
			return all, nil
		}
		page.Token = next.GetNextToken()
	}
}

// requestID makes a repeated call harmless.
func requestID() string { return "cli_" + rand.Text() }
