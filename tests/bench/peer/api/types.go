// SPDX-License-Identifier: Apache-2.0

// Package api holds CloneBase, CloneSet and Clone as Go structs, as kubebuilder would have an author write them after
// crds/*.yaml. What the idle objects of the bench never hold is left out of Clone only.
package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var GroupVersion = schema.GroupVersion{Group: "drover.dev", Version: "v1alpha1"}

func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &CloneBase{}, &CloneBaseList{}, &CloneSet{}, &CloneSetList{}, &Clone{}, &CloneList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

type Ref struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

type NameRef struct {
	Name string `json:"name"`
}

type Owned struct {
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Where   string `json:"where,omitempty"`
	Role    string `json:"role,omitempty"`
	Disk    string `json:"disk,omitempty"`
	Attempt int64  `json:"attempt,omitempty"`
}

type Finding struct {
	Check      string `json:"check"`
	Severity   string `json:"severity"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
}

// ---- CloneBase

type BaseShutdown struct {
	Policy  string `json:"policy,omitempty"`
	Timeout string `json:"timeout,omitempty"`
}

type BaseVM struct {
	Name     string        `json:"name,omitempty"`
	ID       string        `json:"id,omitempty"`
	Take     string        `json:"take,omitempty"`
	Shutdown *BaseShutdown `json:"shutdown,omitempty"`
}

type BaseImage struct {
	StoreRef Ref    `json:"storeRef"`
	Path     string `json:"path"`
	Firmware string `json:"firmware,omitempty"`
}

type BaseTemplate struct {
	Name        string `json:"name,omitempty"`
	Server      string `json:"server,omitempty"`
	Alias       string `json:"alias,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

type CloneBaseSpec struct {
	ProviderRef    Ref                 `json:"providerRef"`
	VM             *BaseVM             `json:"vm,omitempty"`
	Image          *BaseImage          `json:"image,omitempty"`
	Template       *BaseTemplate       `json:"template,omitempty"`
	CPUs           int64               `json:"cpus,omitempty"`
	Memory         *intstr.IntOrString `json:"memory,omitempty"`
	Storage        string              `json:"storage,omitempty"`
	DeletionPolicy string              `json:"deletionPolicy,omitempty"`
	Suspend        bool                `json:"suspend,omitempty"`
}

type BaseSummary struct {
	Provider string `json:"provider,omitempty"`
	Source   string `json:"source,omitempty"`
	Progress string `json:"progress,omitempty"`
}

type BaseRunner struct {
	Checked     bool   `json:"checked,omitempty"`
	Made        bool   `json:"made,omitempty"`
	Stopped     bool   `json:"stopped,omitempty"`
	StopTime    string `json:"stopTime,omitempty"`
	Migration   string `json:"migration,omitempty"`
	NextTryTime string `json:"nextTryTime,omitempty"`
}

type CloneBaseStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Phase              string             `json:"phase,omitempty"`
	ID                 string             `json:"id,omitempty"`
	Revision           string             `json:"revision,omitempty"`
	Bytes              int64              `json:"bytes,omitempty"`
	Dependents         int64              `json:"dependents,omitempty"`
	InUse              bool               `json:"inUse,omitempty"`
	Modified           bool               `json:"modified,omitempty"`
	Summary            BaseSummary        `json:"summary,omitempty"`
	Owned              []Owned            `json:"owned,omitempty"`
	Preflight          []Finding          `json:"preflight,omitempty"`
	Retries            int64              `json:"retries,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	Runner             BaseRunner         `json:"runner,omitempty"`
}

type CloneBase struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              CloneBaseSpec   `json:"spec"`
	Status            CloneBaseStatus `json:"status,omitempty"`
}

type CloneBaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CloneBase `json:"items"`
}

// ---- CloneSet

type CloneDisk struct {
	Name string             `json:"name,omitempty"`
	Size intstr.IntOrString `json:"size"`
}

type CloneNetwork struct {
	Network string `json:"network"`
	MAC     string `json:"mac,omitempty"`
}

type CloneAddresses struct {
	Addresses   []string `json:"addresses"`
	Gateway     string   `json:"gateway,omitempty"`
	Nameservers []string `json:"nameservers,omitempty"`
}

type CloneExec struct {
	Exec    []string `json:"exec"`
	Timeout string   `json:"timeout,omitempty"`
}

type CloneReadiness struct {
	Type    string   `json:"type,omitempty"`
	Exec    []string `json:"exec,omitempty"`
	Timeout string   `json:"timeout,omitempty"`
}

type CloneTemplate struct {
	CloneMode         string              `json:"cloneMode,omitempty"`
	PowerState        string              `json:"powerState,omitempty"`
	Storage           string              `json:"storage,omitempty"`
	CPUs              int64               `json:"cpus,omitempty"`
	Memory            *intstr.IntOrString `json:"memory,omitempty"`
	Disks             []CloneDisk         `json:"disks,omitempty"`
	Networks          []CloneNetwork      `json:"networks,omitempty"`
	Hostname          string              `json:"hostname,omitempty"`
	Addresses         *CloneAddresses     `json:"addresses,omitempty"`
	SSHKeysSecretRef  *NameRef            `json:"sshKeysSecretRef,omitempty"`
	UserDataSecretRef *NameRef            `json:"userDataSecretRef,omitempty"`
	PostStart         *CloneExec          `json:"postStart,omitempty"`
	Readiness         CloneReadiness      `json:"readiness,omitempty"`
}

type SetTemplate struct {
	Labels        map[string]string `json:"labels,omitempty"`
	CloneTemplate `json:",inline"`
}

type SetUpdate struct {
	Type           string              `json:"type,omitempty"`
	Partition      int64               `json:"partition,omitempty"`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	MaxSurge       *intstr.IntOrString `json:"maxSurge,omitempty"`
}

type CloneSetSpec struct {
	Replicas                int64                 `json:"replicas"`
	Selector                *metav1.LabelSelector `json:"selector,omitempty"`
	BaseRef                 NameRef               `json:"baseRef"`
	NameTemplate            string                `json:"nameTemplate,omitempty"`
	Template                SetTemplate           `json:"template,omitempty"`
	Update                  SetUpdate             `json:"update,omitempty"`
	ScaleDown               string                `json:"scaleDown,omitempty"`
	DeletionPolicy          string                `json:"deletionPolicy,omitempty"`
	MinReadySeconds         int64                 `json:"minReadySeconds,omitempty"`
	ProgressDeadlineSeconds int64                 `json:"progressDeadlineSeconds,omitempty"`
	Suspend                 bool                  `json:"suspend,omitempty"`
}

type SetFailure struct {
	Clone   string `json:"clone"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type SetRunner struct {
	ProgressTime string `json:"progressTime,omitempty"`
	PowerState   string `json:"powerState,omitempty"`
}

type CloneSetStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Replicas           int64              `json:"replicas"`
	ReadyReplicas      int64              `json:"readyReplicas"`
	AvailableReplicas  int64              `json:"availableReplicas"`
	UpdatedReplicas    int64              `json:"updatedReplicas"`
	CurrentBase        string             `json:"currentBase,omitempty"`
	UpdateBase         string             `json:"updateBase,omitempty"`
	CurrentRevision    string             `json:"currentRevision,omitempty"`
	UpdateRevision     string             `json:"updateRevision,omitempty"`
	Selector           string             `json:"selector,omitempty"`
	BytesUsed          int64              `json:"bytesUsed,omitempty"`
	BytesSaved         int64              `json:"bytesSaved,omitempty"`
	Failures           []SetFailure       `json:"failures,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	Runner             SetRunner          `json:"runner,omitempty"`
}

type CloneSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              CloneSetSpec   `json:"spec"`
	Status            CloneSetStatus `json:"status,omitempty"`
}

type CloneSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CloneSet `json:"items"`
}

// ---- Clone: there are none in the bench, but they are watched, as an owner does

type CloneSpec struct {
	BaseRef       *NameRef `json:"baseRef,omitempty"`
	CloneTemplate `json:",inline"`
}

type CloneStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Phase              string             `json:"phase,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

type Clone struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              CloneSpec   `json:"spec"`
	Status            CloneStatus `json:"status,omitempty"`
}

type CloneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Clone `json:"items"`
}
