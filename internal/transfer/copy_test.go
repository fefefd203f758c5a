// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

func TestCopyPlanTakesTheFirstSourceThatHasTheImage(t *testing.T) {
	const target = "localhost/os:1"
	var (
		exact    = []stored{{names: []string{imageName}, digest: bootedDigest}}
		there    = []stored{{names: []string{target}, digest: bootedDigest}}
		other    = []stored{{names: []string{target}, digest: otherDigest}}
		exported = []stored{{names: []string{imageName}, digest: otherDigest, of: bootedDigest}}
		damaged  = []stored{{names: []string{imageName}, digest: bootedDigest, damaged: true}}
		left     = []stored{{names: []string{clonejob.Unfinished + "a"}, digest: bootedDigest}}
		pulled   = []stored{{names: []string{exactOf(bootedDigest)}, digest: bootedDigest}}
	)
	for _, tt := range []struct {
		name          string
		bootc, podman []stored
		from          plan.Source
		want          plan.Source
		// accepted is the first digest that the copy may have, "" where any will do.
		accepted string
		names    int
		steps    []plan.StepName
	}{
		{"has the name", exact, there, "", plan.FromDefault, "", 0, []plan.StepName{plan.StepTag}},
		{"under another name", exact, exact, "", plan.FromDefault, bootedDigest, 1, []plan.StepName{plan.StepTag, plan.StepVerify}},
		{"another image has the name", exact, other, "", plan.FromBootc, bootedDigest, 1, []plan.StepName{plan.StepCopy, plan.StepVerify}},
		{"bootc store", exact, nil, "", plan.FromBootc, bootedDigest, 1, []plan.StepName{plan.StepCopy, plan.StepVerify}},
		{"an export", exported, nil, "", plan.FromBootc, otherDigest, 1, []plan.StepName{plan.StepCopy, plan.StepVerify}},
		{"damaged", damaged, damaged, "", plan.FromOSTree, "", 1, []plan.StepName{plan.StepExport, plan.StepVerify}},
		{"another clone was killed", left, left, "", plan.FromOSTree, "", 1, []plan.StepName{plan.StepExport, plan.StepVerify}},
		{"no store", nil, nil, "", plan.FromOSTree, "", 1, []plan.StepName{plan.StepExport, plan.StepVerify}},
		{"registry", exact, nil, plan.FromRegistry, plan.FromRegistry, bootedDigest, 1, []plan.StepName{plan.StepPull, plan.StepTag, plan.StepUntag, plan.StepVerify}},
		{"pulled before", nil, pulled, plan.FromRegistry, plan.FromRegistry, bootedDigest, 1, []plan.StepName{plan.StepPull, plan.StepTag, plan.StepVerify}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, tt.bootc, tt.podman)
			p, err := h.copyPlan(plan.CopyChoice{Target: target, From: tt.from})
			if err != nil {
				t.Fatal(err)
			}
			names := slices.DeleteFunc(slices.Clone(p.Names), func(name string) bool { return name != target })
			if p.Source != tt.want || p.Digest != bootedDigest || len(names) != tt.names || !slices.Equal(p.Steps, tt.steps) {
				t.Errorf("planned %+v", p)
			}
			if accepted := append(p.Accepted, "")[0]; accepted != tt.accepted {
				t.Errorf("accepts %q", p.Accepted)
			}
		})
	}
	t.Run("chosen source does not have it", func(t *testing.T) {
		h, _ := booted(t, registryOrigin, nil, nil)
		if _, err := h.copyPlan(plan.CopyChoice{Target: target, From: plan.FromComposefs}); err == nil || !strings.HasSuffix(err.Error(), "image: composefs: the host has no such source") {
			t.Errorf("got %v, want the reason", err)
		}
		if _, err := h.copyPlan(plan.CopyChoice{Target: target, From: plan.FromBootc}); !errors.Is(err, plan.ErrNoSource) {
			t.Errorf("got %v", err)
		}
	})
}

// copyPlan plans a copy to podman's own store of the host.
func (h *scratchHost) copyPlan(choice plan.CopyChoice) (*plan.CopyPlan, error) {
	h.Helper()
	s, err := inventory.NewSurvey(h.Context(), h.query())
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	return plan.NewCopy(&plan.View{Survey: s}, choice)
}

// The files are compared with the schema in another test.
func TestPlansOfCopiesHaveTheFormOfSetUnified(t *testing.T) {
	exact := []stored{{names: []string{imageName}, digest: bootedDigest, size: 5000}}
	exported := []stored{{names: []string{imageName}, digest: otherDigest, of: bootedDigest, size: 5000}}
	for _, tt := range []struct {
		name          string
		bootc, podman []stored
		from          plan.Source
	}{
		{"copy-there", exact, []stored{{names: []string{"localhost/bootc"}, digest: bootedDigest}}, ""},
		{"copy-tag", nil, exact, ""},
		{"copy-bootc", exact, []stored{{names: []string{"localhost/bootc"}, digest: otherDigest}}, ""},
		{"copy-exported", exported, nil, ""},
		{"copy-ostree", nil, nil, ""},
		{"copy-registry", exact, nil, plan.FromRegistry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, commit := booted(t, registryOrigin, tt.bootc, tt.podman)
			podman := &fakePodman{scratchHost: h, images: tt.bootc}
			podman.installPrivate()
			o := podman.options()
			p, err := PlanCopy(t.Context(), o, plan.CopyChoice{Target: "localhost/bootc", From: tt.from, Alternatives: true})
			if err != nil {
				t.Fatal(err)
			}
			if podman.ran != nil {
				t.Errorf("ran %q", podman.ran)
			}
			checkGoldenCopy(t, tt.name, p, commit)
		})
	}
	t.Run("pull", func(t *testing.T) {
		h, commit := booted(t, registryOrigin, nil, append(exact, stored{names: []string{"localhost/x:1"}, digest: otherDigest, size: 7}))
		podman := &fakePodman{scratchHost: h, images: exact}
		podman.installPrivate()
		plans, err := PlanPull(t.Context(), podman.options(), []string{imageName, "localhost/x:1"})
		if err != nil || len(plans) != 2 {
			t.Fatalf("got %d plans, %v", len(plans), err)
		}
		checkGoldenCopy(t, "pull-there", plans[0], commit)
		checkGoldenCopy(t, "pull", plans[1], commit)
		if podman.ran != nil {
			t.Errorf("ran %q", podman.ran)
		}
	})
}

// checkGoldenCopy is checkGolden for a plan whose numbers depend on the filesystem of the test.
func checkGoldenCopy(t *testing.T, name string, p *plan.Plan, commit string) {
	t.Helper()
	p.Write, p.WriteReason, p.Time = new(int64), "", plan.TimeDisk
	for i := range p.Alternatives {
		a := &p.Alternatives[i]
		a.Write, a.WriteReason, a.Time = new(int64), "", plan.TimeDisk
	}
	checkGolden(t, name, p, commit)
}
