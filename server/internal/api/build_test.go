package api_test

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestGetBuild_ByIDOrByAppAndNumber(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	for _, req := range []*gestorv1.GetBuildRequest{{Id: string(w.build.ID)}, {App: "shop", Number: 1}, {App: w.app.GetId(), Number: 1}} {
		if res, err := n.one.builds.GetBuild(t.Context(), req); err != nil || res.GetBuild().GetId() != string(w.build.ID) || res.GetBuild().GetCommit() != "c0ffee" {
			t.Errorf("%v: got %v, %v", req, res, err)
		}
	}
	for _, req := range []*gestorv1.GetBuildRequest{{}, {App: "shop"}, {Number: 1}, {Id: string(w.build.ID), App: "shop", Number: 1}} {
		_, err := n.one.builds.GetBuild(t.Context(), req)
		wantKind(t, err, fault.KindInvalid)
	}
	_, err := n.one.builds.GetBuild(t.Context(), &gestorv1.GetBuildRequest{App: "shop", Number: 2})
	wantKind(t, err, fault.KindNotFound)
}

func TestCreateBuild_IsPendingAndCanBeCancelled(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	res, err := n.one.builds.CreateBuild(t.Context(), &gestorv1.CreateBuildRequest{App: "shop", Ref: "feature/$(id)"})
	if err != nil {
		t.Fatal(err)
	}
	b := res.GetBuild()
	if b.GetNumber() != 2 || b.GetStatus() != gestorv1.BuildStatus_BUILD_STATUS_PENDING || b.GetRef() != "feature/$(id)" || b.GetTriggeredBy() != "one@example.com" {
		t.Errorf("got %v", b)
	}
	list, err := n.one.builds.ListBuilds(t.Context(), &gestorv1.ListBuildsRequest{App: "shop"})
	if err != nil || len(list.GetBuilds()) != 2 || list.GetBuilds()[0].GetNumber() != 2 {
		t.Errorf("got list %v, %v", list, err)
	}
	cancelled, err := n.one.builds.CancelBuild(t.Context(), &gestorv1.CancelBuildRequest{Id: b.GetId()})
	if err != nil || cancelled.GetBuild().GetStatus() != gestorv1.BuildStatus_BUILD_STATUS_CANCELLED {
		t.Errorf("got %v, %v", cancelled, err)
	}
}

func TestPinRelease_ByNameAndBack(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	for _, pinned := range []bool{true, false} {
		res, err := n.one.releases.PinRelease(t.Context(), &gestorv1.PinReleaseRequest{App: "shop", Release: w.release.Name, Pinned: pinned})
		if err != nil || res.GetRelease().GetPinned() != pinned || !res.GetRelease().GetCurrent() {
			t.Errorf("got %v, %v", res, err)
		}
	}
	list, err := n.one.releases.ListReleases(t.Context(), &gestorv1.ListReleasesRequest{App: "shop"})
	if err != nil || len(list.GetReleases()) != 1 || list.GetReleases()[0].GetKind() != gestorv1.AppKind_APP_KIND_STATIC {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestPinRelease_OfAnotherAppIsNotFound(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	w := n.addWork(t, n.one, "blog")
	_, err := n.one.releases.PinRelease(t.Context(), &gestorv1.PinReleaseRequest{App: "shop", Release: string(w.release.ID)})
	wantKind(t, err, fault.KindNotFound)
}
