# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Completes the command lines of bootc-podman(8) in fish 3.

function __bootc_podman_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l plain (string unescape -- "$typed")
    and set typed $plain
    # The name may be an alias.
    set -l program $words[1]
    command -q $program
    or set program bootc-podman
    set -e words[1]
    set -l lines (command $program __complete $words "$typed" 2>/dev/null)
    set -l directive (string match -r '^:([0-9]+)$' -- "$lines[-1]")[2]
    or return
    set -e lines[-1]
    # Candidates are for the value of --option=value.
    set -l option (string match -r '^-[^=]*=' -- "$typed")
    set -l value (string replace -- "$option" '' "$typed")

    if test (math "floor($directive / 16) % 2") = 1
        set lines (__fish_complete_directories "$value" '')
    else if test (math "floor($directive / 8) % 2") = 1
        set -l extensions $lines
        set lines
        for extension in $extensions
            set -a lines (__fish_complete_suffix "$value" ".$extension")
        end
    else if test (count $lines) = 0 -a (math "floor($directive / 4) % 2") = 0
        set lines (__fish_complete_path "$value")
    end
    # A candidate that ends in = or / gets no space after it anyway.
    for line in $lines
        printf '%s\n' "$option$line"
    end
end

complete -c bootc-podman -f -a '(__bootc_podman_complete)'
