package command

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// fill sets every field below m to something that is not its zero value; a oneof gets its pick-th member.
func fill(m protoreflect.Message, pick, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && o.Fields().Get(pick%o.Fields().Len()) != f {
			continue
		}
		if depth > 6 {
			return
		}
		fillField(m, f, pick, depth)
	}
}

func fillField(m protoreflect.Message, f protoreflect.FieldDescriptor, pick, depth int) {
	switch {
	case f.IsMap():
		mp := m.Mutable(f).Map()
		mp.Set(protoreflect.ValueOfString("KEY").MapKey(), sample(f.MapValue()))
	case f.IsList() && f.Message() != nil:
		fill(m.Mutable(f).List().AppendMutable().Message(), pick, depth+1)
	case f.IsList():
		m.Mutable(f).List().Append(sample(f))
	case f.Message() != nil:
		fill(m.Mutable(f).Message(), pick, depth+1)
	default:
		m.Set(f, sample(f))
	}
}

func sample(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1.5)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("bytes"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	default:
		return protoreflect.ValueOfString("text of " + string(f.Name()))
	}
}

func TestDecode_KeepsEveryFieldOfEveryOpOfTheContract(t *testing.T) {
	ops := (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		for pick := range 7 {
			want := &raftv1.Command{}
			m := want.ProtoReflect()
			fillField(m, m.Descriptor().Fields().ByName("request_id"), 0, 0)
			fillField(m, m.Descriptor().Fields().ByName("at"), 0, 0)
			fillField(m, m.Descriptor().Fields().ByName("actor"), 0, 0)
			fillField(m, ops.Get(i), pick, 0)
			checkRoundTrip(t, want)
		}
	}
}

func checkRoundTrip(t *testing.T, want *raftv1.Command) {
	t.Helper()
	c, err := Decode(want)
	if err != nil {
		t.Fatalf("decode %v: %v", want, err)
	}
	got, err := Encode(c)
	if err != nil {
		t.Fatalf("encode %#v: %v", c, err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("round trip lost something:\n got %v\nwant %v", got, want)
	}
}

func TestDecode_KeepsEveryOpWhenItsFieldsAreUnset(t *testing.T) {
	ops := (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		m := &raftv1.Command{}
		m.ProtoReflect().Mutable(ops.Get(i))
		c, err := Decode(m)
		if err != nil {
			t.Fatalf("decode empty %s: %v", ops.Get(i).Name(), err)
		}
		if again, err := Encode(c); err != nil || again.GetOp() == nil {
			t.Errorf("encode empty %s: %v, %v", ops.Get(i).Name(), again, err)
		}
	}
}

func TestDecode_RefusesACommandWithoutAKnownOp(t *testing.T) {
	if _, err := Decode(&raftv1.Command{RequestId: "r"}); err == nil {
		t.Error("a command without op was decoded")
	}
}

func TestUnmarshal_ReadsWhatMarshalWroteAndNothingElse(t *testing.T) {
	want := Command{RequestID: "r", At: time.Unix(1, 0).UTC(), Actor: gestor.Actor{Kind: "user", ID: "usr_1"}, Op: CancelTask{ID: "tsk_1"}}
	data, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unmarshal(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := Unmarshal(data[:len(data)-1]); err == nil {
		t.Error("a command that was cut off was read")
	}
}

func TestEncode_RefusesASpecThatIsNoTaskSpec(t *testing.T) {
	if _, err := Encode(Command{Op: CreateTask{Task: gestor.Task{Spec: []byte{0xff}}}}); err == nil {
		t.Error("garbage passed for a task spec")
	}
}

func TestArtifact_ReadsABuildResultAndNothingElse(t *testing.T) {
	var r agentv1.BuildResult
	fill(r.ProtoReflect(), 0, 0)
	b, err := proto.Marshal(&agentv1.TaskResult{Result: &agentv1.TaskResult_Build{Build: &r}})
	if err != nil {
		t.Fatal(err)
	}
	a, ok := Artifact(b)
	if !ok || a.Digest != r.GetArtifactDigest() || a.Kind != gestor.KindProcess || a.RuntimeVersion == "" {
		t.Errorf("got %+v, %v", a, ok)
	}
	if _, ok := Artifact(nil); ok {
		t.Error("no result passed for an artifact")
	}
}

func TestNumberSpec_WritesNumberAndUIDIntoABuildTask(t *testing.T) {
	in := &agentv1.TaskSpec{Work: &agentv1.TaskSpec_Build{Build: &agentv1.BuildWork{App: &agentv1.AppRef{Slug: "shop"}}}}
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := NumberSpec(b, 12, 70003)
	if err != nil {
		t.Fatal(err)
	}
	var got agentv1.TaskSpec
	if err := proto.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if w := got.GetBuild(); w.GetNumber() != 12 || w.GetApp().GetUid() != 70003 || w.GetApp().GetSlug() != "shop" {
		t.Errorf("got %v", w)
	}
}
