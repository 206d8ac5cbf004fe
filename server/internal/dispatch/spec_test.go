package dispatch_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func resourceSpec(t *testing.T, resource string) []byte {
	t.Helper()
	b, err := proto.Marshal(&agentv1.TaskSpec{Resource: resource})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
