package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
)

// timeOut converts a time; the zero time is absent.
func timeOut(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// spanIn converts a span; absent is zero. What does not fit into a time.Duration is refused rather than cut.
func spanIn(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	span := d.AsDuration()
	if d.CheckValid() != nil || durationpb.New(span).GetSeconds() != d.GetSeconds() {
		return 0, fault.Invalid(field, "it is no span of time").WithFix("write it in seconds, such as 60s")
	}
	return span, nil
}
