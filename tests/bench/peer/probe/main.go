// SPDX-License-Identifier: Apache-2.0

// probe fills an API server with idle CloneBases and CloneSets and measures whoever looks after them.
//
//	probe fill N                 makes N/2 of each: bases that are suspended, sets of no clones
//	probe settled N SECONDS      waits until the status of all of them speaks of their present generation; prints seconds
//	probe events N BURST         N changes of replicas one after another, and BURST at the same time
//
// An event is the moment at which the API server has taken the change: its answer has arrived, or the watch has told of
// it, whichever came first. The action is the moment at which the watch tells of a status that speaks of that generation:
// what the controller wrote has been stored, and has reached a client. `events` prints two lines: n, p50, p99 and the
// longest, milliseconds. Cluster and credentials: $KUBECONFIG.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"drover.dev/bench/peer/api"
)

const (
	fillers    = 16
	pause      = 50 * time.Millisecond // after each change, so that no client's budget of requests is what is measured
	actionTime = 30 * time.Second      // after which an action is missing
)

func connect() (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

func setName(i int) string  { return fmt.Sprintf("set-%d", i) }
func baseName(i int) string { return fmt.Sprintf("base-%d", i) }

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }

// ---- fill

// Calls do for 0 to n-1, on several threads; the first error.
func each(n, threads int, do func(i int) error) error {
	var group sync.WaitGroup
	numbers := make(chan int)
	failures := make(chan error, threads)
	for range threads {
		group.Go(func() {
			for i := range numbers {
				if err := do(i); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func fill(ctx context.Context, c client.WithWatch, n int) error {
	return each(n/2, fillers, func(i int) error {
		base := api.CloneBase{ObjectMeta: named(baseName(i)), Spec: api.CloneBaseSpec{
			ProviderRef: api.Ref{Name: "nowhere"}, Template: &api.BaseTemplate{Name: "t"}, Suspend: true}}
		set := api.CloneSet{ObjectMeta: named(setName(i)), Spec: api.CloneSetSpec{
			BaseRef: api.NameRef{Name: baseName(i)}}}
		if err := c.Create(ctx, &base); err != nil {
			return err
		}
		return c.Create(ctx, &set)
	})
}

// ---- what the watches tell

func generations(o runtime.Object) (name string, is, observed int64) {
	switch o := o.(type) {
	case *api.CloneSet:
		return o.Name, o.Generation, o.Status.ObservedGeneration
	case *api.CloneBase:
		return o.Name, o.Generation, o.Status.ObservedGeneration
	}
	return "", 0, -1
}

// Calls told for every object that is there, and for every change, until ctx is over or told returns true.
func follow(ctx context.Context, c client.WithWatch, list client.ObjectList, told func(name string, is, observed int64) bool) error {
	// From what the server has at hand: an older etcd cannot tell it soon how new that is.
	from := client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}
	for {
		w, err := c.Watch(ctx, list, &from)
		if err != nil {
			return err
		}
		done, err := listen(w, told)
		w.Stop()
		// A server that has much to do ends watches, and says that its own cache is not as far yet.
		if done || (err != nil && !apierrors.IsTimeout(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func listen(w watch.Interface, told func(name string, is, observed int64) bool) (done bool, err error) {
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return false, apierrors.FromObject(event.Object)
		}
		if told(generations(event.Object)) {
			return true, nil
		}
	}
	return false, nil
}

// ---- settled

func settledOf(ctx context.Context, c client.WithWatch, list client.ObjectList, n int) error {
	open := map[string]bool{}
	count := 0
	return follow(ctx, c, list, func(name string, is, observed int64) bool {
		if open[name] {
			count--
		}
		open[name] = is != observed
		if open[name] {
			count++
		}
		return len(open) == n && count == 0
	})
}

func settled(ctx context.Context, c client.WithWatch, n, seconds int) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	lists := []client.ObjectList{&api.CloneBaseList{}, &api.CloneSetList{}}
	err := each(len(lists), len(lists), func(i int) error { return settledOf(ctx, c, lists[i], n/2) })
	if err == nil {
		fmt.Printf("%.1f\n", time.Since(start).Seconds())
	}
	return err
}

// ---- events

type seen struct {
	accepted map[int64]time.Time // by generation, as told by the watch
	acted    map[int64]time.Time // by observed generation
	news     chan struct{}
}

type probe struct {
	c     client.WithWatch
	mutex sync.Mutex
	sets  map[string]*seen
}

func (p *probe) of(name string) *seen {
	s := p.sets[name]
	if s == nil {
		s = &seen{map[int64]time.Time{}, map[int64]time.Time{}, make(chan struct{}, 1)}
		p.sets[name] = s
	}
	return s
}

func keepFirst(m map[int64]time.Time, key int64, now time.Time) {
	if _, there := m[key]; !there {
		m[key] = now
	}
}

func (p *probe) told(name string, is, observed int64) bool {
	now := time.Now()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	s := p.of(name)
	keepFirst(s.accepted, is, now)
	keepFirst(s.acted, observed, now)
	select {
	case s.news <- struct{}{}:
	default:
	}
	return false
}

func (p *probe) times(s *seen, generation int64) (accepted, acted time.Time, done bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	acted, done = s.acted[generation]
	return s.accepted[generation], acted, done
}

// One change, until it has been acted upon.
func (p *probe) change(ctx context.Context, name string, replicas int) (time.Duration, error) {
	p.mutex.Lock()
	s := p.of(name)
	p.mutex.Unlock()
	set := api.CloneSet{ObjectMeta: named(name)}
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	if err := p.c.Patch(ctx, &set, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return 0, err
	}
	answered := time.Now()
	late := time.After(actionTime)
	for {
		accepted, acted, done := p.times(s, set.Generation)
		if done {
			if accepted.IsZero() || accepted.After(answered) {
				accepted = answered
			}
			return acted.Sub(accepted), nil
		}
		select {
		case <-s.news:
		case <-late:
			return 0, fmt.Errorf("nothing was done about %s within %v", name, actionTime)
		}
	}
}

func say(what string, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 {
		rank := int(math.Ceil(share * float64(len(took)))) // the nearest
		return float64(took[rank-1].Microseconds()) / 1000
	}
	fmt.Printf("%s %d %.1f %.1f %.1f\n", what, len(took), at(0.5), at(0.99), at(1))
}

// Half of the changes scale up, the other half scale the same sets down again: all is idle afterwards.
func (p *probe) series(ctx context.Context, n, threads int, pause time.Duration) ([]time.Duration, error) {
	took := make([]time.Duration, 2*(n/2))
	for up := range 2 {
		err := each(n/2, threads, func(i int) error {
			var err error
			took[up*(n/2)+i], err = p.change(ctx, setName(i), 1-up)
			time.Sleep(pause)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}

func events(ctx context.Context, c client.WithWatch, n, burst int) error {
	p := &probe{c: c, sets: map[string]*seen{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(follow(ctx, c, &api.CloneSetList{}, p.told)) }()
	// The first change waits for whoever has just been started, and for our own watch.
	if _, err := p.series(ctx, 2, 1, 0); err != nil {
		return err
	}
	one, err := p.series(ctx, n, 1, pause)
	if err != nil {
		return err
	}
	say("single", one)
	many, err := p.series(ctx, 2*burst, burst, 0)
	if err != nil {
		return err
	}
	say("burst", many)
	return nil
}

func run() error {
	if len(os.Args) < 3 {
		return fmt.Errorf("usage: probe fill N | settled N SECONDS | events N BURST")
	}
	numbers := make([]int, 2)
	for i, text := range os.Args[2:min(len(os.Args), 4)] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("'%s' is no number", text)
		}
		numbers[i] = n
	}
	c, err := connect()
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch {
	case os.Args[1] == "fill":
		return fill(ctx, c, numbers[0])
	case os.Args[1] == "settled" && numbers[1] > 0:
		return settled(ctx, c, numbers[0], numbers[1])
	case os.Args[1] == "events" && numbers[1] > 0:
		return events(ctx, c, numbers[0], numbers[1])
	}
	return fmt.Errorf("usage: probe fill N | settled N SECONDS | events N BURST")
}

func main() {
	log.SetLogger(zap.New())
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}
