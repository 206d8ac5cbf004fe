package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// hostile makes commands that nothing in the program would propose, out of what a story is made of: every id, name and hash
// of it stands in every place sooner or later, beside values at the ends of what their types hold.
type hostile struct {
	*rand.Rand

	story []*raftv1.Command
	texts []string
	bytes [][]byte
	ops   protoreflect.FieldDescriptors
}

func newHostile(t testing.TB, seed uint64) *hostile {
	t.Helper()
	h := &hostile{
		Rand:  rand.New(rand.NewPCG(seed, seed)),
		texts: []string{"", "\x00", "a\x00b", "\u202e", "%", "'", "null", "{", strings.Repeat("ü", 5000), "A@example.com", "admin", "active", "trash", "x"},
		bytes: [][]byte{nil, {}, {0}, {0xff, 0xfe}, {1, 0, 0, 0, 0x0a}, bytes.Repeat([]byte{1}, 9000)},
		ops:   (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields(),
	}
	for _, c := range story(t) {
		m, err := command.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		h.story = append(h.story, m)
		h.learn(m.ProtoReflect())
	}
	return h
}

// learn keeps all texts and bytes of a message.
func (h *hostile) learn(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				h.texts = append(h.texts, k.String())
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				h.learnValue(f, v.List().Get(i))
			}
		default:
			h.learnValue(f, v)
		}
		return true
	})
}

func (h *hostile) learnValue(f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() { //nolint:exhaustive // nothing is learnt from the others
	case protoreflect.MessageKind:
		h.learn(v.Message())
	case protoreflect.StringKind:
		h.texts = append(h.texts, v.String())
	case protoreflect.BytesKind:
		h.bytes = append(h.bytes, v.Bytes())
	}
}

// next is a command of the story with a few fields that are others, or one that is made of chance alone.
func (h *hostile) next() *raftv1.Command {
	m := &raftv1.Command{At: stampOf(start.Add(time.Duration(h.IntN(200)) * time.Hour)), Actor: h.actor()}
	if h.IntN(3) == 0 {
		f := h.ops.Get(h.IntN(h.ops.Len()))
		h.fill(m.ProtoReflect().Mutable(f).Message(), 0)
	} else {
		told := proto.CloneOf(h.story[h.IntN(len(h.story))])
		m.Op = told.GetOp()
		op := m.ProtoReflect().WhichOneof(h.ops.Get(0).ContainingOneof())
		for range h.IntN(4) {
			h.spoil(m.ProtoReflect().Mutable(op).Message(), 0)
		}
		if h.IntN(2) == 0 {
			m.Actor = told.GetActor()
		}
	}
	switch h.IntN(8) {
	case 0:
		m.RequestId = h.text()
	case 1:
		m.At = h.moment()
	case 2:
		h.spoil(m.GetActor().ProtoReflect(), 0)
	}
	return m
}

func stampOf(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

func (h *hostile) actor() *raftv1.Actor {
	m := proto.CloneOf(h.story[h.IntN(len(h.story))].GetActor())
	m.Action = "hostile"
	switch h.IntN(5) {
	case 0:
		m.Kind, m.Id, m.TenantId = "agent", "nod_1", "ten_a"
	case 1:
		m.Kind, m.TokenId = "token", h.text()
	case 2:
		m.Kind, m.Id, m.TenantId = "system", "hostile", ""
	}
	return m
}

// spoil makes one field of a message another, here or further down.
func (h *hostile) spoil(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	if fields.Len() == 0 {
		return
	}
	f := fields.Get(h.IntN(fields.Len()))
	if f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() && m.Has(f) && h.IntN(4) > 0 && !isLeaf(f.Message()) {
		h.spoil(m.Mutable(f).Message(), depth+1)
		return
	}
	if h.IntN(8) == 0 {
		m.Clear(f)
		return
	}
	h.set(m, f, depth)
}

func isLeaf(d protoreflect.MessageDescriptor) bool {
	return strings.HasPrefix(string(d.FullName()), "google.protobuf.")
}

func (h *hostile) fill(m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		if h.IntN(5) > 0 {
			h.set(m, m.Descriptor().Fields().Get(i), depth)
		}
	}
}

func (h *hostile) set(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.IsMap():
		into := m.Mutable(f).Map()
		for range h.IntN(4) {
			into.Set(h.value(f.MapKey(), depth, nil).MapKey(), h.value(f.MapValue(), depth, into.NewValue))
		}
	case f.IsList():
		into := m.Mutable(f).List()
		for range h.IntN(4) {
			into.Append(h.value(f, depth, into.NewElement))
		}
		if n := into.Len(); n > 0 && h.IntN(2) == 0 {
			into.Append(into.Get(h.IntN(n))) // twice the same
		}
	default:
		m.Set(f, h.value(f, depth, func() protoreflect.Value { return m.NewField(f) }))
	}
}

func (h *hostile) value(f protoreflect.FieldDescriptor, depth int, made func() protoreflect.Value) protoreflect.Value {
	whole := []int64{0, 1, -1, 2, 7, 14, 1000, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}[h.IntN(11)]
	switch f.Kind() { //nolint:exhaustive // the contract has no others
	case protoreflect.MessageKind:
		return h.message(f, depth, made())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(h.IntN(10) - 1))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(h.IntN(2) == 0)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(h.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(bytes.Clone(h.bytes[h.IntN(len(h.bytes))]))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{0, 0.5, -1, math.NaN(), math.Inf(1), math.MaxFloat64}[h.IntN(6)])
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(whole))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(whole))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(whole))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(whole)
	}
	panic(fmt.Sprintf("no hostile value of the kind %s is known", f.Kind()))
}

func (h *hostile) message(f protoreflect.FieldDescriptor, depth int, into protoreflect.Value) protoreflect.Value {
	switch f.Message().FullName() {
	case "google.protobuf.Timestamp":
		return protoreflect.ValueOfMessage(h.moment().ProtoReflect())
	case "google.protobuf.Duration":
		return protoreflect.ValueOfMessage((&durationpb.Duration{
			Seconds: []int64{0, 1, -1, 3600, math.MaxInt64, math.MinInt64}[h.IntN(6)], Nanos: []int32{0, 1, math.MaxInt32}[h.IntN(3)],
		}).ProtoReflect())
	}
	if depth < 4 {
		h.fill(into.Message(), depth+1)
	}
	return into
}

func (h *hostile) moment() *timestamppb.Timestamp {
	if h.IntN(2) == 0 {
		return stampOf(start.Add(time.Duration(h.IntN(400)-200) * time.Hour))
	}
	return &timestamppb.Timestamp{
		Seconds: []int64{0, -1, 253402300800, -62135596800, -62135596801, math.MaxInt64, math.MinInt64, 9223372037}[h.IntN(8)],
		Nanos:   []int32{0, 1, -1, math.MaxInt32}[h.IntN(4)],
	}
}

func (h *hostile) text() string { return h.texts[h.IntN(len(h.texts))] }

// foundingAt begins a log with a state of a level.
func foundingAt(level uint32) []*raftv1.Command {
	var out []*raftv1.Command
	for i, op := range founding() {
		if begin, ok := op.(command.InitCluster); ok {
			begin.Level = level
			op = begin
		}
		m, err := command.Encode(command.Command{At: start, Actor: system, Op: op, RequestID: fmt.Sprint("founding", i)})
		if err != nil {
			panic(err)
		}
		out = append(out, m)
	}
	return out
}

// A command that cannot be applied stops every server for good, because it is in the log: there is none.
func TestApply_RefusesOrDoesWhateverIsInTheLog(t *testing.T) {
	for level := uint32(1); level <= released; level++ {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("level %d seed %d", level, seed), func(t *testing.T) { applyHostile(t, level, seed, 1200) })
		}
	}
}

func applyHostile(t *testing.T, level uint32, seed uint64, n int) {
	t.Helper()
	h := newHostile(t, seed)
	log, told := foundingAt(level), 0
	for range n {
		if h.IntN(3) == 0 { // the story goes on, so that there is something to spoil
			log = append(log, h.story[told%len(h.story)])
			told++
			continue
		}
		log = append(log, h.next())
	}
	one, together := emptyWorld(t), emptyWorld(t)
	var results [][]Result
	var entries []Entry
	for i, m := range log {
		data, err := proto.Marshal(&raftv1.Batch{Commands: []*raftv1.Command{m}})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{Index: uint64(i) + 1, Data: data})
		results = append(results, applied(t, one, entries[i], m))
	}
	for i := 0; i < len(entries); i += 50 {
		for j, got := range together.fsm.Apply(entries[i:min(i+50, len(entries))]) {
			if fmt.Sprint(got) != fmt.Sprint(results[i+j]) {
				t.Fatalf("entry %d: %v alone, %v together", i+j, results[i+j], got)
			}
		}
		if i%500 == 0 {
			copyState(t, together, together)
		}
	}
	if one.hash() != together.hash() {
		t.Error("the same commands gave different states")
	}
	done := map[string]int{}
	for i, r := range results {
		if r[0].Err == nil {
			done[string(log[i].ProtoReflect().WhichOneof(h.ops.Get(0).ContainingOneof()).Name())]++
		}
	}
	if len(done) < 20 {
		t.Errorf("only %d kinds of ops were done: %v", len(done), done)
	}
}

func applied(t *testing.T, w *world, e Entry, m *raftv1.Command) []Result {
	t.Helper()
	defer func() {
		if why := recover(); why != nil {
			t.Fatalf("entry %d stops the server: %v\n%.3000v", e.Index, why, m)
		}
	}()
	return w.fsm.Apply([]Entry{e})[0]
}

// What has to be unique is refused in words, and not left to the database.
func TestApply_RefusesWhatIsThereAlready(t *testing.T) {
	w := newWorld(t)
	token := func(id gestor.TokenID, name, of string) command.CreateToken {
		return command.CreateToken{Token: gestor.Token{ID: id, Name: name, Kind: gestor.TokenPersonal, Hash: hashOf(of), ExpiresAt: start.Add(time.Hour)}}
	}
	invitation := func(id gestor.InvitationID, email, of string) command.CreateInvitation {
		i := newInvitation(id, email, gestor.RoleViewer)
		i.SecretHash = hashOf(of)
		return command.CreateInvitation{Invitation: i}
	}
	session := func(id gestor.SessionID, of string) command.CreateSession {
		return command.CreateSession{Session: gestor.Session{ID: id, UserID: "usr_a", TokenHash: hashOf(of), ExpiresAt: start.Add(time.Hour)}}
	}
	totp := func(id gestor.FactorID) command.AddFactor {
		return command.AddFactor{Factor: gestor.Factor{ID: id, UserID: "usr_a", Kind: gestor.FactorTOTP, Secret: []byte("sealed")}}
	}
	for _, op := range []command.Op{
		token("tkn_1", "one", "t1"), invitation("inv_1", "b@example.com", "i1"), invitation("inv_2", "c@example.com", "i2"), session("ses_1", "s1"),
	} {
		w.must(op)
	}
	for name, op := range map[string]command.Op{
		"the hash of a session": session("ses_2", "s1"),
		"the id of a session":   session("ses_1", "s2"),
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.refuses(fault.KindExists, op)
		})
	}
	w.t = t
	w.must(totp("fac_1"))
	for name, op := range map[string]command.Op{
		"the hash of a token":       token("tkn_2", "two", "t1"),
		"the id of a token":         token("tkn_1", "two", "t2"),
		"the hash of an invitation": invitation("inv_3", "d@example.com", "i1"),
		"the id of an invitation":   invitation("inv_1", "d@example.com", "i3"),
		"another's secret":          command.RenewInvitation{ID: "inv_1", SecretHash: hashOf("i2"), ExpiresAt: start.Add(time.Hour)},
		"the id of a user":          command.AcceptInvitation{SecretHash: hashOf("i1"), UserID: "usr_a", PasswordHash: "$argon2id$1"},
		"the id of a second factor": totp("fac_1"),
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.refuses(fault.KindExists, op)
		})
	}
}

func TestApply_RefusesWhatNoTableHolds(t *testing.T) {
	w := newWorld(t)
	app := newApp("app_2", "blog", "nod_1")
	app.Settings.Limits.CPUs = math.NaN()
	w.refuses(fault.KindInternal, command.CreateApp{App: app})
	w.index++
	late := command.Command{At: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), Actor: system, Op: command.RecordEvent{Event: newEvent("thing.broke", "thing_1")}}
	if r := w.apply(late)[0]; r.Err != nil {
		t.Errorf("an event that nobody is told of: %v", r.Err)
	}
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	if r := w.apply(late)[0]; !errors.Is(r.Err, fault.KindInternal) {
		t.Errorf("got %v", r.Err)
	}
}

func TestPrune_RemovesTokensThatEndedLongAgo(t *testing.T) {
	w := newWorld(t)
	for i, ends := range []time.Time{start.Add(time.Hour), start.Add(48 * time.Hour), {}} {
		id := gestor.TokenID(fmt.Sprint("tkn_", i))
		w.must(command.CreateToken{Token: gestor.Token{ID: id, Name: string(id), Kind: gestor.TokenPersonal, Hash: hashOf(string(id)), ExpiresAt: ends}})
	}
	w.must(command.Prune{Before: start.Add(24 * time.Hour)})
	left, err := w.view().TokensByUser(t.Context(), "usr_a")
	if err != nil || len(left) != 2 {
		t.Errorf("%d tokens are left, %v", len(left), err)
	}
}

func TestAdmitIdentity_TakesTheIDOfNobody(t *testing.T) {
	w := newWorld(t)
	revision := w.must(command.CreateProvider{Provider: newProvider("prv_1", "Company", "firm.example")}).Revision
	w.must(admission("prv_1", revision, "s1", "dora@firm.example", "n1"))
	user := admission("prv_1", revision, "s2", "eva@firm.example", "n2")
	user.User = "usr_a"
	identity := admission("prv_1", revision, "s3", "eva@firm.example", "n3")
	identity.Identity = "idn_s1"
	for _, op := range []command.Op{user, identity} {
		w.refuses(fault.KindUnauthenticated, op)
	}
}
