package api

import (
	"context"
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestKnown_AsksAgainOnceWhatDecidesHasChanged(t *testing.T) {
	version, reads := uint64(1), 0
	k := &known{version: func(...state.Table) uint64 { return version }}
	read := func(context.Context, []byte) (auth.Caller, error) {
		reads++
		return auth.Caller{Kind: auth.User, User: gestor.User{Role: gestor.RoleAdmin}}, nil
	}
	ask := func(want int) {
		t.Helper()
		if _, err := k.caller(t.Context(), []byte("hash"), read); err != nil || reads != want {
			t.Fatalf("%d reads, %v, want %d", reads, err, want)
		}
	}
	ask(1)
	ask(1)
	version = 2
	ask(2)
	ask(2)
}

func TestKnown_KeepsNothingThatWasReadBeforeAChange(t *testing.T) {
	version := uint64(1)
	k := &known{version: func(...state.Table) uint64 { return version }}
	slow := func(context.Context, []byte) (auth.Caller, error) {
		version = 2 // while it reads, somebody signs the caller out
		return auth.Caller{Kind: auth.User}, nil
	}
	if _, err := k.caller(t.Context(), []byte("hash"), slow); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	_, err := k.caller(t.Context(), []byte("hash"), func(context.Context, []byte) (auth.Caller, error) { return auth.Caller{}, gone })
	if !errors.Is(err, gone) {
		t.Fatalf("an old answer was kept: %v", err)
	}
}

func TestKnown_KeepsNoRefusalAndNothingWithoutVersions(t *testing.T) {
	for name, k := range map[string]*known{
		"a refusal":        {version: func(...state.Table) uint64 { return 1 }},
		"without versions": {},
	} {
		reads := 0
		for range 2 {
			_, _ = k.caller(t.Context(), []byte("hash"), func(context.Context, []byte) (auth.Caller, error) {
				reads++
				if name == "a refusal" {
					return auth.Caller{}, errUnknown
				}
				return auth.Caller{}, nil
			})
		}
		if reads != 2 {
			t.Errorf("%s was kept", name)
		}
	}
}
