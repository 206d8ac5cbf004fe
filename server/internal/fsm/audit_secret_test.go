package fsm

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
)

// poison replaces all bytes of a message, which are what is sealed or hashed, and text whose field is named for a secret.
func poison(m protoreflect.Message, word string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Kind() == protoreflect.BytesKind:
			v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
				v.Map().Set(k, protoreflect.ValueOfBytes([]byte(word)))
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				poison(v.List().Get(i).Message(), word)
			}
		case f.IsMap(), f.IsList():
		case f.Message() != nil:
			poison(v.Message(), word)
		case f.Kind() == protoreflect.BytesKind && f.Name() != "setup_hash" && f.Name() != "secret_hash" && f.Name() != "head":
			m.Set(f, protoreflect.ValueOfBytes([]byte(word+fmt.Sprint(len(v.Bytes())))))
		case strings.Contains(string(f.Name()), "password"):
			m.Set(f, protoreflect.ValueOfString(word))
		}
		return true
	})
}

// traces are the ways in which secret bytes could be written.
func traces(word string) [][]byte {
	return [][]byte{
		[]byte(word), []byte(hex.EncodeToString([]byte(word))), []byte(base64.StdEncoding.EncodeToString([]byte(word))[:20]),
		[]byte(base64.RawURLEncoding.EncodeToString([]byte(word))[:20]), fmt.Append(nil, []byte(word))[1:40],
	}
}

func TestAudit_HoldsNoSecretOfAnyOp(t *testing.T) {
	const word = "hunter2-do-not-show-me-anywhere"
	w, seen := emptyWorld(t), 0
	for _, c := range story(t) {
		m, err := command.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		copied := &raftv1.Command{RequestId: m.GetRequestId(), At: m.GetAt(), Actor: m.GetActor(), Op: m.GetOp()}
		poison(copied.ProtoReflect(), word)
		poisoned, err := command.Decode(copied)
		if err != nil { // the bytes are a message
			poisoned = c
		}
		w.apply(poisoned)
		seen++
	}
	if all := w.entries(); len(all) < seen/2 {
		t.Fatalf("%d entries of %d commands", len(all), seen)
	}
	for _, a := range w.entries() {
		text := fmt.Appendf(nil, "%+v %s %s %s", a.Actor, a.Detail, a.Before, a.After)
		for _, trace := range append(traces(word), traces(string(secret))...) {
			if bytes.Contains(text, trace) {
				t.Errorf("the entry of %s about %s holds a secret: %s", a.Action, a.Object, text)
			}
		}
	}
}
