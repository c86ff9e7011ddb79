// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

func (in *BaseVM) deepCopy() *BaseVM {
	out := copied(in)
	if out != nil {
		out.Shutdown = copied(in.Shutdown)
	}
	return out
}

func (in *CloneBase) DeepCopy() *CloneBase {
	out := *in
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Spec.VM = in.Spec.VM.deepCopy()
	out.Spec.Image = copied(in.Spec.Image)
	out.Spec.Template = copied(in.Spec.Template)
	out.Spec.Memory = copied(in.Spec.Memory)
	out.Status.Owned = slices.Clone(in.Status.Owned)
	out.Status.Preflight = slices.Clone(in.Status.Preflight)
	out.Status.Conditions = slices.Clone(in.Status.Conditions)
	return &out
}

func (in *CloneAddresses) deepCopy() *CloneAddresses {
	out := copied(in)
	if out != nil {
		out.Addresses = slices.Clone(in.Addresses)
		out.Nameservers = slices.Clone(in.Nameservers)
	}
	return out
}

func (in *CloneExec) deepCopy() *CloneExec {
	out := copied(in)
	if out != nil {
		out.Exec = slices.Clone(in.Exec)
	}
	return out
}

func (in *CloneTemplate) deepCopy() CloneTemplate {
	out := *in
	out.Memory = copied(in.Memory)
	out.Disks = slices.Clone(in.Disks)
	out.Networks = slices.Clone(in.Networks)
	out.Addresses = in.Addresses.deepCopy()
	out.SSHKeysSecretRef = copied(in.SSHKeysSecretRef)
	out.UserDataSecretRef = copied(in.UserDataSecretRef)
	out.PostStart = in.PostStart.deepCopy()
	out.Readiness.Exec = slices.Clone(in.Readiness.Exec)
	return out
}

func (in *CloneSet) DeepCopy() *CloneSet {
	out := *in
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Spec.Selector = in.Spec.Selector.DeepCopy()
	out.Spec.Template.Labels = maps.Clone(in.Spec.Template.Labels)
	out.Spec.Template.CloneTemplate = in.Spec.Template.CloneTemplate.deepCopy()
	out.Spec.Update.MaxUnavailable = copied(in.Spec.Update.MaxUnavailable)
	out.Spec.Update.MaxSurge = copied(in.Spec.Update.MaxSurge)
	out.Status.Failures = slices.Clone(in.Status.Failures)
	out.Status.Conditions = slices.Clone(in.Status.Conditions)
	return &out
}

func (in *Clone) DeepCopy() *Clone {
	out := *in
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Spec.BaseRef = copied(in.Spec.BaseRef)
	out.Spec.CloneTemplate = in.Spec.CloneTemplate.deepCopy()
	out.Status.Conditions = slices.Clone(in.Status.Conditions)
	return &out
}

func copiedItems[T any, P interface {
	*T
	DeepCopy() *T
}](items []T) []T {
	out := make([]T, len(items))
	for i := range items {
		out[i] = *P(&items[i]).DeepCopy()
	}
	return out
}

func copiedMeta(m metav1.ListMeta) metav1.ListMeta { return *m.DeepCopy() }

func (in *CloneBase) DeepCopyObject() runtime.Object { return in.DeepCopy() }
func (in *CloneSet) DeepCopyObject() runtime.Object  { return in.DeepCopy() }
func (in *Clone) DeepCopyObject() runtime.Object     { return in.DeepCopy() }

func (in *CloneBaseList) DeepCopyObject() runtime.Object {
	return &CloneBaseList{in.TypeMeta, copiedMeta(in.ListMeta), copiedItems(in.Items)}
}

func (in *CloneSetList) DeepCopyObject() runtime.Object {
	return &CloneSetList{in.TypeMeta, copiedMeta(in.ListMeta), copiedItems(in.Items)}
}

func (in *CloneList) DeepCopyObject() runtime.Object {
	return &CloneList{in.TypeMeta, copiedMeta(in.ListMeta), copiedItems(in.Items)}
}
