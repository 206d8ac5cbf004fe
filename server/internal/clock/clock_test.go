package clock_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/server/internal/clock"
)

// machine is a clock that may be set.
type machine struct{ off time.Duration }

func (m *machine) now() time.Time { return time.Now().Round(0).Add(m.off) }

// three is the clock of a server with two others, which say what they are told to.
type three struct {
	*clock.Clock
	own machine
}

func newThree() *three {
	s := &three{}
	s.Clock = clock.New(s.own.now, time.Time{})
	s.Members([]string{"b", "c"})
	return s
}

func (s *three) hear(server string, off time.Duration) {
	asked := time.Now()
	<-time.After(2 * time.Millisecond)
	says := time.Now().Add(off)
	<-time.After(2 * time.Millisecond)
	s.Heard(server, says, asked, time.Now())
}

func near(t *testing.T, what string, got time.Time, off time.Duration) {
	t.Helper()
	if d := got.Sub(time.Now().Round(0).Add(off)); d.Abs() > 5*time.Millisecond {
		t.Errorf("%s: the time is %s off", what, d+off)
	}
}

func TestNow_IsWhatTwoOfThreeSayWhateverTheThirdDoes(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour, 30 * 24 * time.Hour, -30 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := newThree()
			s.own.off = off
			near(t, "alone", s.Now(), off)
			s.hear("b", 0)
			s.hear("c", 0)
			near(t, "with two others", s.Now(), 0)
			s.own.off = -off
			near(t, "after its clock was set", s.Now(), 0)
			s.own.off = 0
			s.hear("b", off)
			near(t, "after another's clock was set", s.Now(), 0)
			<-time.After(10 * time.Minute)
			near(t, "later", s.Now(), 0)
		})
	}
}

func TestNow_IsTheEarlierOfTwoForBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newThree(), newThree()
		a.own.off = time.Hour
		a.hear("b", 0)
		b.hear("a", time.Hour)
		near(t, "the one that is ahead", a.Now(), 0)
		near(t, "the other", b.Now(), 0)
	})
}

func TestNow_StandsStillForMomentsAndGoesBackForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m machine
		c := clock.New(m.now, time.Time{})
		before := c.Now()
		m.off = -time.Second
		if now := c.Now(); !now.Equal(before) {
			t.Errorf("it went back by %s", before.Sub(now))
		}
		<-time.After(1100 * time.Millisecond)
		if now := c.Now(); !now.After(before) {
			t.Error("it still stands")
		}
		m.off = -time.Hour
		near(t, "after a correction", c.Now(), -time.Hour)
	})
}

func TestNow_ForgetsWhoLeftAndWhoWasNotHeardForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newThree()
		s.own.off = time.Minute
		s.hear("b", 0)
		s.hear("c", 0)
		s.Members(nil)
		near(t, "alone", s.Now(), time.Minute)
		s.Members([]string{"b", "c"})
		s.hear("b", 0)
		s.hear("c", 0)
		<-time.After(2 * time.Hour)
		near(t, "hours without a word", s.Now(), time.Minute)
	})
}

func TestNotice_TellsWhoseClockIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for off, want := range map[time.Duration]string{0: "", time.Second: "", 3 * time.Second: "3s ahead", -time.Hour: "1h0m0s behind"} {
			s := newThree()
			s.own.off = off
			s.hear("b", 0)
			s.hear("c", 0)
			if got := s.Notice(); want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%s: got %q", off, got)
			}
		}
	})
}

func TestDoubt_IsThereUntilAMajorityAgreesAndAnHourAfterAJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newThree()
		doubts := func(what, want string) {
			t.Helper()
			if got := s.Doubt(); want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		doubts("alone of three", "1 of 3")
		s.hear("b", time.Second)
		doubts("two agree", "")
		s.hear("c", 30*24*time.Hour)
		doubts("the third is off", "")
		s.hear("c", 0)
		doubts("the third was put right", "")
		s.own.off = time.Hour
		doubts("its own is off", "differ by 59m59s")
		s.own.off = 0
		doubts("it was put right", "believed after")
		<-time.After(50 * time.Minute)
		s.hear("b", 0)
		s.hear("c", 0)
		doubts("not yet an hour later", "believed after")
		<-time.After(40 * time.Minute)
		doubts("an hour and a half later", "")
	})
}

func TestDoubt_OfAServerThatIsAloneIsOfItsPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m machine
		if d := clock.New(m.now, time.Now().Add(-time.Hour)).Doubt(); d != "" {
			t.Errorf("after an hour: %q", d)
		}
		m.off = 30 * 24 * time.Hour
		c := clock.New(m.now, time.Now().Add(-time.Hour))
		if d := c.Doubt(); !strings.Contains(d, "believed after") {
			t.Errorf("a month ahead: %q", d)
		}
		<-time.After(time.Hour)
		if d := c.Doubt(); d != "" {
			t.Errorf("an hour later: %q", d)
		}
		m.off = 0
		if d := c.Doubt(); !strings.Contains(d, "believed after") {
			t.Errorf("put right: %q", d)
		}
	})
}
