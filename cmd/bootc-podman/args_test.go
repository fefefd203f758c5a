// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestOptionsMayFollowOperands(t *testing.T) {
	tree := newTestApp(t).command(&options{})
	for _, tt := range []struct{ name, args, want string }{
		{name: "after the operand", args: "exists x --store ostree", want: "exists --store ostree -- x"},
		{name: "with an equals sign", args: "exists x --store=ostree", want: "exists --store=ostree -- x"},
		{name: "on both sides", args: "list --no-trunc x -q", want: "list --no-trunc -q -- x"},
		{name: "after global options", args: "--sysroot /x --dry-run exists x --store ostree", want: "--sysroot /x --dry-run exists --store ostree -- x"},
		{name: "not after two dashes", args: "exists --store ostree -- --store", want: "exists --store ostree -- --store"},
		{name: "a lone dash is an operand", args: "exists - --store ostree", want: "exists --store ostree -- -"},
		{name: "without operands", args: "list -q --no-trunc", want: "list -q --no-trunc"},
		{name: "without a value", args: "exists x --store", want: "exists --store"},
		{name: "unknown option", args: "exists x --nope y", want: "exists --nope -- x y"},
		{name: "a passthrough", args: "exec ls --store x", want: "exec ls --store x"},
		{name: "a passthrough after global options", args: "--sysroot /x image ls -q x -a", want: "--sysroot /x image ls -q x -a"},
		{name: "unknown command", args: "nope x --store y", want: "nope x --store y"},
		{name: "global options only", args: "--sysroot", want: "--sysroot"},
		{name: "nothing", args: "", want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(optionsFirst(tree, append([]string{"bootc-podman"}, strings.Fields(tt.args)...))[1:], " ")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
