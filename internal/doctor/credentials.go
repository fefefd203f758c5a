// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// credentials reports a damaged file of bootc's credentials and, where a registry was named,
// which entry podman finds for it in the bootc store. It never has a secret.
func (ex *examination) credentials() []Problem {
	auth, err := storageconf.FindAuth(ex.Sysroot.Dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return unread(err)
	}
	var file struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredHelpers map[string]string          `json:"credHelpers"`
	}
	if err := json.Unmarshal(auth.Bytes(), &file); err != nil {
		return one(health.Finding{
			Rule: health.CredentialsDamaged, Severity: health.Failing, Where: auth.Path, What: "is not a file of credentials: " + cause(err),
			Why: "bootc and podman do not pull with it",
		})
	}
	if ex.Registry == "" {
		return nil
	}
	f := health.Finding{Rule: health.Credentials, Severity: health.Information, Where: "registry " + ex.Registry, What: "bootc has no file of credentials"}
	if auth.Path != "" {
		f.What = auth.Path + " has no entry for it"
	}
	for key, more := ex.Registry, true; more; {
		if _, ok := file.Auths[key]; ok {
			f.What = fmt.Sprintf("%s has the entry %q for it", auth.Path, key)
			return one(f)
		}
		registry, _, _ := strings.Cut(key, "/")
		if key == registry && file.CredHelpers[registry] != "" {
			f.What = fmt.Sprintf("%s has the credential helper %q for it", auth.Path, file.CredHelpers[registry])
		}
		slash := strings.LastIndexByte(key, '/')
		if more = slash > 0; more {
			key = key[:slash]
		}
	}
	return one(f)
}

// cause is the reason of an error of JSON, without a part of the file.
func cause(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("damaged at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("of another form at byte %d", kind.Offset)
	}
	return "damaged"
}
