package api

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func eventsOut(events []gestor.Event, reads gestor.EventReads) []*gestorv1.Event {
	out := make([]*gestorv1.Event, len(events))
	for i, e := range events {
		out[i] = eventOut(e)
		out[i].Read = reads.Has(e.ID)
	}
	return out
}

func eventOut(e gestor.Event) *gestorv1.Event {
	return &gestorv1.Event{
		Id:           string(e.ID),
		Severity:     gestorv1.EventSeverity(e.Severity),
		Kind:         e.Kind,
		ObjectKind:   e.ObjectKind,
		ObjectId:     e.ObjectID,
		AppId:        string(e.AppID),
		Title:        e.Title,
		Data:         e.Data,
		CreatedAt:    timeOut(e.CreatedAt),
		LastAt:       timeOut(e.LastAt),
		Count:        e.Count,
		Installation: e.TenantID == "",
	}
}

func unreadOut(counts map[gestor.Severity]int64) *gestorv1.UnreadCounts {
	return &gestorv1.UnreadCounts{
		Info: counts[gestor.SeverityInfo], Warning: counts[gestor.SeverityWarning],
		Error: counts[gestor.SeverityError], Critical: counts[gestor.SeverityCritical],
	}
}
