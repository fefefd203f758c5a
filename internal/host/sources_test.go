// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// imageMeta is the metadata of the commit made of a deployment's image.
func imageMeta(d Deployment) map[string]string {
	if d.Image == nil {
		return nil
	}
	labels := map[string]string{}
	if d.Version != "" {
		labels["version"] = d.Version
	}
	if !d.Created.IsZero() {
		labels["org.opencontainers.image.created"] = d.Created.Format(time.RFC3339Nano)
	}
	config, _ := json.Marshal(map[string]any{"architecture": d.Architecture, "config": map[string]any{"Labels": labels}})
	return map[string]string{"ostree.manifest-digest": d.ManifestDigest, "ostree.manifest": "{}", "ostree.container.image-config": string(config)}
}

// buildOSTree makes the sysroot of the host that a bootc status describes. As
// checksums of commits cannot be chosen, it returns a status with others.
func buildOSTree(t *testing.T, status []byte) (s Sysroot, _ []byte) {
	t.Helper()
	h, err := ParseBootcStatus(status)
	if err != nil {
		t.Fatal(err)
	}
	s = Sysroot{Dir: newRepo(t), Running: running(t, "")}
	var order []Deployment
	for i, d := range h.Deployments {
		made := d
		made.Commit = commitImage(t, s.Dir, fmt.Sprint("test/", i), imageMeta(d))
		status = bytes.ReplaceAll(status, []byte(d.Commit), []byte(made.Commit))
		root := addDeployment(t, s.Dir, d.Stateroot, made.Commit, d.Serial)
		origin := "[origin]\n"
		if d.Image != nil {
			origin += "container-image-reference=" + d.Image.String() + "\n"
		}
		if d.Incompatible {
			origin += "container-image-reference=ostree-unverified-registry:quay.io/x\n[packages]\nrequested=vim\n"
		}
		if d.Pinned {
			origin += "[libostree-transient]\npinned=true\n"
		}
		writeFile(t, s.Dir, root+".origin", origin)
		switch {
		case d.Role == Staged:
			const name = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5.3"
			staged := bytes.Replace(stagedFile(t), []byte(name), fmt.Appendf(nil, "%s.%d", made.Commit, d.Serial), 1)
			writeFile(t, s.Running, "run/ostree/staged-deployment", string(staged))
		case d.Role == Rollback && h.RollbackQueued:
			order = append([]Deployment{made}, order...)
		default:
			order = append(order, made)
		}
	}
	for i, d := range order {
		arg := addEntry(t, s.Dir, s.Dir, fmt.Sprint(99-i), d.Stateroot, fmt.Sprintf("%s.%d", d.Commit, d.Serial))
		if d.Role == Booted {
			writeFile(t, s.Running, "proc/cmdline", "ostree="+arg+"\n")
		}
	}
	return s, status
}

// sameHost fails unless two sources report the same.
func sameHost(t *testing.T, native, bootc *Host) {
	t.Helper()
	if !reflect.DeepEqual(native, bootc) {
		nativeText, _ := json.MarshalIndent(native, "", " ")
		bootcText, _ := json.MarshalIndent(bootc, "", " ")
		t.Errorf("from files %s\nfrom bootc %s", nativeText, bootcText)
	}
}

func TestReadSysrootTellsWhatBootcTells(t *testing.T) {
	for _, name := range []string{"ostree-booted", "ostree-staged-rollback", "ostree-pinned-others", "incompatible", "null-image", "unknown-keys"} {
		t.Run(name, func(t *testing.T) {
			status := readStatus(t, name)
			if name == "ostree-pinned-others" {
				// In the stateroot of the booted one it would be the rollback.
				status = edited(t, name, `"deploySerial": 3,`+"\n          "+`"stateroot": "default"`, `"deploySerial": 3, "stateroot": "third"`)
			}
			s, status := buildOSTree(t, status)
			want, err := ParseBootcStatus(status)
			if err != nil {
				t.Fatal(err)
			}
			got, problems := ReadSysroot(s)
			oneLineNaming(t, problems)
			_, problems = Describe(openRepo(t, s.Dir), got, nil)
			oneLineNaming(t, problems)
			for i := range got.Deployments {
				// Of these bootc says no more than that they are incompatible.
				got.Deployments[i].Layered = nil
			}
			// bootc does not report this.
			for i := range got.Deployments {
				got.Deployments[i].Layered = nil
			}
			sameHost(t, got, want)
		})
	}
}

func TestReadSysrootOfAHostNotBootedTellsWhatBootcTells(t *testing.T) {
	s := Sysroot{Dir: t.TempDir(), Running: running(t, "")}
	makeDirs(t, s.Dir, "ostree/repo")
	got, problems := ReadSysroot(s)
	oneLineNaming(t, problems)
	want, err := ParseBootcStatus(readStatus(t, "not-booted"))
	if err != nil {
		t.Fatal(err)
	}
	// Only the files show how a host without deployments would keep them.
	got.Kind = want.Kind
	sameHost(t, got, want)
}

func TestReadSysrootOfAComposefsHostTellsWhatBootcTells(t *testing.T) {
	want, err := ParseBootcStatus(readStatus(t, "composefs"))
	if err != nil {
		t.Fatal(err)
	}
	s := Sysroot{Dir: newComposefs(t), Running: running(t, "composefs=?"+want.Deployments[0].Verity)}
	writeFile(t, s.Running, "proc/self/mountinfo", "")
	for i := range want.Deployments {
		d := &want.Deployments[i]
		base := filepath.Join(composefsState, d.Verity, d.Verity)
		origin := "[origin]\ncontainer-image-reference = ostree-unverified-image:" + d.Image.Image.String() + "\n[boot]\nboot_type = bls\n"
		if d.Role == Booted {
			origin += "[image]\nmanifest_digest = " + d.ManifestDigest + "\n"
			// That is in the composefs repository, which this host lacks; see
			// TestReadSysrootReadsTheComposefsRepository.
			d.Architecture, d.Created = "", time.Time{}
		} else {
			// From the time before manifest_digest: what bootc reports then is the
			// digest of a manifest that was written anew.
			info, _ := json.Marshal(map[string]any{
				"config":   map[string]any{"architecture": d.Architecture, "created": d.Created},
				"manifest": map[string]any{"annotations": map[string]string{"org.opencontainers.image.version": d.Version}},
			})
			writeFile(t, s.Dir, base+".imginfo", string(info))
			d.ManifestDigest = ""
		}
		writeFile(t, s.Dir, base+".origin", origin)
		addVerityEntry(t, s.Dir, strings.Repeat("x", i+1), fmt.Sprint(9-i), "options composefs="+d.Verity)
	}
	got, problems := ReadSysroot(s)
	oneLineNaming(t, problems)
	sameHost(t, got, want)
}
