// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"fmt"
	"slices"
)

// undone is the error of place.undo.
func undone(failed error, commands [][]string, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%w; undo: %w", failed, err)
	case len(commands) == 0:
		return failed
	}
	return fmt.Errorf("%w; it was removed again", failed)
}

// undoing are the commands of place.undo. An image that has other names by now is
// somebody else's, too, and stays.
func undoing(before, now map[string][]string, names []string) (commands [][]string) {
	ownerIn := func(all map[string][]string, name string) string {
		for id, theirs := range all {
			if slices.Contains(theirs, name) {
				return id
			}
		}
		return ""
	}
	var removed []string
	for _, name := range names {
		was, is := ownerIn(before, name), ownerIn(now, name)
		if was == is {
			continue
		}
		_, known := before[is]
		others := slices.ContainsFunc(now[is], func(other string) bool { return !slices.Contains(names, other) })
		switch {
		case is == "" || slices.Contains(removed, is):
		case known || others:
			commands = append(commands, []string{"untag", is, name})
		default:
			removed = append(removed, is)
			commands = append(commands, []string{"rm", "--force", is})
		}
		if _, there := now[was]; there {
			commands = append(commands, []string{"tag", was, name})
		}
	}
	return commands
}
