package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/backup"
	"github.com/saas-gestor/gestor/server/internal/clock"
	"github.com/saas-gestor/gestor/server/internal/diskspace"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// wireGuards puts together what keeps the data: the watch over the disk and the scheduled backups.
func (s *Server) wireGuards(p *parts) error {
	c := s.options.Config
	var err error
	p.disk, err = diskspace.New(diskspace.Options{
		Dir: c.DataDir, Reserve: uint64(c.DiskReserve), Log: s.log.With("component", "disk"), Leads: s.engine.IsLeader,
		Voters:   func(ctx context.Context) (map[string]uint64, error) { return s.roomOfVoters(ctx, p), nil },
		HandOver: s.engine.TransferLeader,
	})
	if err != nil {
		return err
	}
	s.engine.Refuse(p.disk.Refuse)
	p.run = append(p.run, part{"disk", p.disk.Run})
	if c.Backup.To == "" {
		return nil
	}
	target, err := backup.Open(backup.Place{
		To: c.Backup.To, Endpoint: c.Backup.Endpoint, Region: c.Backup.Region, Credentials: c.Backup.Credentials,
	})
	if err != nil {
		return err
	}
	p.backups = backup.NewSchedule(backup.ScheduleOptions{
		Engine: s.engine, Cluster: string(s.id.cluster.ID), Target: target, Every: time.Duration(c.Backup.Every), Keep: c.Backup.Keep,
		Log: s.log.With("component", "backup"), Now: s.clock.Now,
	})
	s.engine.OnTerm("backup", p.backups.RunTerm)
	return nil
}

// roomOfVoters are the free bytes of the other voters that answer.
func (s *Server) roomOfVoters(ctx context.Context, p *parts) map[string]uint64 {
	var ids []gestor.ServerID
	for _, m := range s.engine.Members() {
		if m.Voter && m.ID != s.id.server {
			ids = append(ids, gestor.ServerID(m.ID))
		}
	}
	room := map[string]uint64{}
	for id, status := range p.members.Statuses(ctx, ids) {
		room[string(id)] = status.GetDiskFreeBytes()
	}
	return room
}

// notice is what a person should know of this server, in a sentence or two.
func (p *parts) notice(clock *clock.Clock) string {
	notices := []string{p.disk.Notice(), p.keys.Notice(), clock.Notice()}
	if p.backups != nil {
		notices = append(notices, p.backups.Notice())
	}
	return strings.Join(slices.DeleteFunc(notices, func(n string) bool { return n == "" }), "; ")
}
