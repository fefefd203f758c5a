// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

func TestFindingHasOneTextAndOneJSON(t *testing.T) {
	for _, tt := range []struct {
		finding Finding
		text    string
	}{
		{Finding{What: "read x: no"}, "read x: no"},
		{Finding{Where: "/x", What: "is gone"}, "/x: is gone"},
		{Finding{Severity: Failing, Where: "/x", What: "is gone", Why: "y fails", Fix: "z"}, `/x: is gone, so that y fails; "z" fixes it`},
	} {
		if got := tt.finding.String(); got != tt.text {
			t.Errorf("got %q, want %q", got, tt.text)
		}
	}
	got, err := json.Marshal(Finding{Severity: Failing, Where: "/x", What: "is gone", Why: "y fails", Fix: "z"})
	if want := `{"severity":"failing","where":"/x","what":"is gone","why":"y fails","fix":"z"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestWhatIsUnreadIsSaidOnce(t *testing.T) {
	got := Unread([]error{errors.New("a"), errors.New("b"), errors.New("a")})
	if len(got) != 2 || got[0] != (Finding{Severity: Unknown, What: "a"}) || got[1].What != "b" {
		t.Errorf("got %v", got)
	}
}

func TestDamagedImagesAreNamedWithTheirStore(t *testing.T) {
	img := &cstorage.Image{ID: strings.Repeat("0123456789abcdef", 4)}
	for _, tt := range []struct {
		store inventory.StoreName
		names []string
		want  string
	}{
		{inventory.DefaultStore, []string{"localhost/x:1", "localhost/y:1"}, `image 0123456789ab, localhost/x:1, of podman's own store: damaged and not used: why; "podman image rm 0123456789ab" fixes it`},
		{inventory.BootcStore, nil, `image 0123456789ab, without a name, of the bootc-owned store: damaged and not used: why; "bootc-podman image rm 0123456789ab" fixes it`},
	} {
		img.Names = tt.names
		if got := Damaged(inventory.Damage{Store: tt.store, Image: img, Err: errors.New("why")}).String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
