package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestPackFacts_RefusesMoreThanIsStored(t *testing.T) {
	if _, err := packFacts(&gestorv1.NodeFacts{Arch: strings.Repeat("x", mostFacts-100)}); err != nil {
		t.Fatal(err)
	}
	_, err := packFacts(&gestorv1.NodeFacts{Arch: strings.Repeat("x", mostFacts)})
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.KindInvalid || f.Field != "facts" {
		t.Fatalf("got %v", err)
	}
}
