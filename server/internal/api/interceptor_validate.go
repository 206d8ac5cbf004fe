package api

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
)

// validation checks every message that comes in against the rules in the contract.
type validation struct{ rules protovalidate.Validator }

func newValidation() (*validation, error) {
	rules, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("read the contract's rules: %w", err)
	}
	return &validation{rules: rules}, nil
}

func (v *validation) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := v.check(req.Any()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func (v *validation) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, &checkedConn{StreamingHandlerConn: conn, check: v.check})
	}
}

func (v *validation) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type checkedConn struct {
	connect.StreamingHandlerConn
	check func(any) error
}

func (c *checkedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	return c.check(m)
}

// check names the first rule a message breaks. A rule that cannot be evaluated is our fault and has no kind.
func (v *validation) check(message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("validate: %T is no message", message)
	}
	err := v.rules.Validate(m)
	if err == nil {
		return nil
	}
	broken, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok || len(broken.Violations) == 0 {
		return fmt.Errorf("validate %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	first := broken.Violations[0].Proto
	return fault.Invalid(protovalidate.FieldPathString(first.GetField()), "%s", reason(first.GetMessage(), first.GetRuleId()))
}

func reason(message, rule string) string {
	if message == "" {
		return "it breaks the rule " + rule
	}
	return message
}

// strictJSON is the JSON form of messages in which a field that does not exist is an error, not silence: a misspelt
// setting must not be lost.
type strictJSON struct{ name string }

var _ connect.Codec = strictJSON{}

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", message)
	}
	return protojson.Marshal(m)
}

func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", message)
	}
	if len(data) == 0 {
		return errors.New("an empty body is no JSON object; send {}")
	}
	return protojson.Unmarshal(data, m)
}
