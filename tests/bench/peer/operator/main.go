// SPDX-License-Identifier: Apache-2.0

// operator is what `drover controller` is measured beside: CloneBases, CloneSets and Clones in the cache of
// controller-runtime, and the least that a controller of theirs does. It says what it has seen in status.observedGeneration
// and a condition, reports a change of that as an Event, and does nothing about objects that did not change. Neither
// metrics, health probes nor leader election: those would only cost memory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"drover.dev/bench/peer/api"
)

const (
	workers = 8 // as drover has
	owner   = "spec.owner"
)

var (
	strip    = flag.Bool("strip-managed-fields", false, "keep no managedFields in the cache")
	expected = flag.Int64("objects", 0, "say `settled` after so many first looks")
	looked   atomic.Int64
)

func note() {
	if looked.Add(1) == *expected {
		fmt.Println("settled")
	}
}

// ---- sets

type sets struct {
	client.Client
	events record.EventRecorder
}

func ready(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, "Ready")
}

func condition(set *api.CloneSet, base *api.CloneBase, clones int64) metav1.Condition {
	c := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Scaling",
		Message: fmt.Sprintf("%d of %d available", clones, set.Spec.Replicas), ObservedGeneration: set.Generation}
	if clones == set.Spec.Replicas {
		c.Status, c.Reason = metav1.ConditionTrue, "Complete"
	} else if !ready(base.Status.Conditions) {
		c.Reason = "BaseNotReady"
	}
	return c
}

func (r *sets) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer note()
	var set api.CloneSet
	var base api.CloneBase
	var clones api.CloneList
	if err := r.Get(ctx, request.NamespacedName, &set); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if set.Status.ObservedGeneration == set.Generation {
		return ctrl.Result{}, nil
	}
	key := client.ObjectKey{Namespace: set.Namespace, Name: set.Spec.BaseRef.Name}
	if err := client.IgnoreNotFound(r.Get(ctx, key, &base)); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.List(ctx, &clones, client.InNamespace(set.Namespace), client.MatchingFields{owner: string(set.UID)}); err != nil {
		return ctrl.Result{}, err
	}
	c := condition(&set, &base, int64(len(clones.Items)))
	set.Status.ObservedGeneration = set.Generation
	set.Status.Replicas = int64(len(clones.Items))
	if meta.SetStatusCondition(&set.Status.Conditions, c) {
		r.events.Event(&set, corev1.EventTypeNormal, c.Reason, c.Message)
	}
	return ctrl.Result{}, r.Status().Update(ctx, &set)
}

func ownerOf(o client.Object) []string {
	if by := metav1.GetControllerOf(o); by != nil {
		return []string{string(by.UID)}
	}
	return nil
}

// ---- bases

type bases struct{ client.Client }

func (r *bases) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer note()
	var base api.CloneBase
	if err := r.Get(ctx, request.NamespacedName, &base); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if base.Status.ObservedGeneration == base.Generation {
		return ctrl.Result{}, nil
	}
	base.Status.ObservedGeneration = base.Generation
	return ctrl.Result{}, r.Status().Update(ctx, &base)
}

// ---- life

func run() error {
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		return err
	}
	if err := clientscheme.AddToScheme(scheme); err != nil {
		return err
	}
	options := ctrl.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}}
	if *strip {
		options.Cache.DefaultTransform = cache.TransformStripManagedFields()
	}
	m, err := ctrl.NewManager(ctrl.GetConfigOrDie(), options)
	if err != nil {
		return err
	}
	if err := m.GetFieldIndexer().IndexField(context.Background(), &api.Clone{}, owner, ownerOf); err != nil {
		return err
	}
	many := controller.Options{MaxConcurrentReconciles: workers}
	err = ctrl.NewControllerManagedBy(m).For(&api.CloneSet{}).Owns(&api.Clone{}).WithOptions(many).
		Complete(&sets{m.GetClient(), m.GetEventRecorderFor("peer")})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(m).For(&api.CloneBase{}).WithOptions(many).Complete(&bases{m.GetClient()})
	if err != nil {
		return err
	}
	return m.Start(ctrl.SetupSignalHandler())
}

func main() {
	flag.Parse()
	log.SetLogger(zap.New())
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
