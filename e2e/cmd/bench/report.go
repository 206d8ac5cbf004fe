package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine prints what the figures were taken on, with a calibration loop so that runs can be compared.
func (b *bench) machine() {
	model := "unknown processor"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load := "unknown"
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(raw))[:3], " ")
	}
	fmt.Printf("machine      %d × %s, %s\n", runtime.NumCPU(), model, runtime.Version())
	fmt.Printf("load         %s\n", load)
	fmt.Printf("calibration  %s for 200 million additions on one core\n", ms(calibrate()))
	fmt.Printf("rounds       %d, medians with the fastest and slowest\n", b.rounds)
}

func calibrate() time.Duration {
	start := time.Now()
	sum := uint64(1)
	for i := range uint64(200_000_000) {
		sum = sum*31 + i
	}
	took := time.Since(start)
	if sum == 0 {
		return 0
	}
	return took
}

// sample is a set of measured times.
type sample []time.Duration

func (s sample) sorted() sample {
	c := slices.Clone(s)
	slices.Sort(c)
	return c
}

func (s sample) median() time.Duration { return s.percentile(50) }

func (s sample) percentile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	c := s.sorted()
	return c[min(int(p/100*float64(len(c))), len(c)-1)]
}

// row prints one line of a table; ratio is against base and left out if base is 0.
func row(name string, s sample, base time.Duration) {
	c := s.sorted()
	ratio := ""
	if base > 0 {
		ratio = fmt.Sprintf("%6.2f x", float64(s.median())/float64(base))
	}
	fmt.Printf("%-46s %9s  (%s – %s) %s\n", name, ms(s.median()), ms(c[0]), ms(c[len(c)-1]), ratio)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// times measures f n times after one round that does not count.
func times(n int, f func(round int) error) (sample, error) {
	var s sample
	for i := range n + 1 {
		start := time.Now()
		if err := f(i); err != nil {
			return nil, err
		}
		if i > 0 {
			s = append(s, time.Since(start))
		}
	}
	return s, nil
}
