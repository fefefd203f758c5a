# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Completes the command lines of bootc-podman(8) in bash 4.4 and later, without
# the package bash-completion.

# __bootc_podman_split LINE - split LINE into $words as the shell does, but expand
# nothing: what is typed must not run before it is entered. The last word is the
# one being typed, maybe empty; $quote is the quotation mark that is open in it.
__bootc_podman_split() {
    local line=$1 char next word='' begun='' i
    words=() quote=''
    for ((i = 0; i < ${#line}; i++)); do
        char=${line:i:1} next=${line:i+1:1}
        if [[ $char == "$quote" ]]; then
            quote=''
        elif [[ $quote == "'" ]]; then
            word+=$char
        elif [[ $char == \\ && ( -z $quote || $next == [\$\`\"\\] ) ]]; then
            word+=$next begun=1
            ((++i))
        elif [[ -z $quote && $char == [\'\"] ]]; then
            quote=$char begun=1
        elif [[ -z $quote && $char == [[:space:]] ]]; then
            [[ -z $begun ]] || words+=("$word")
            word='' begun=''
        else
            word+=$char begun=1
        fi
    done
    words+=("$word")
}

# _bootc_podman COMMAND REPLACED - called by bash with the end of the word being
# typed that a candidate will replace: it begins after the last : or = in it.
_bootc_podman() {
    local words quote program lines directive=4 typed replaced kept option='' extension candidate paths=''
    COMPREPLY=()
    __bootc_podman_split "$2"
    replaced=${words[-1]}
    __bootc_podman_split "${COMP_LINE:0:COMP_POINT}"
    # Inside an open quotation $2 is without quoting already.
    [[ -z $quote ]] || replaced=$2
    # The completion of sudo counts the : or = as a word.
    [[ $replaced != +([:=]) ]] || replaced=''
    typed=${words[-1]}
    kept=${typed%"$replaced"}
    # The name may be an alias.
    program=$(type -P -- "${words[0]}") || program=bootc-podman
    mapfile -t lines < <("$program" __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${lines[-1]-} == :+([0-9]) ]]; then
        directive=${lines[-1]#:}
        unset 'lines[-1]'
    fi
    # Candidates are for the value of --option=value.
    [[ $typed != -*=* ]] || option=${typed%%=*}=

    if ((directive & 16)); then # directories
        mapfile -t lines < <(compgen -d -- "${typed#"$option"}")
        paths=1
    elif ((directive & 8)); then # files with one of these extensions
        mapfile -t lines < <(
            compgen -d -- "${typed#"$option"}"
            for extension in "${lines[@]}"; do
                compgen -f -X "!*.$extension" -- "${typed#"$option"}"
            done
        )
        paths=1
    fi
    for candidate in "${lines[@]}"; do
        [[ -n $paths ]] || candidate=${candidate%%$'\t'*}
        candidate=$option$candidate
        [[ $candidate == "$typed"* ]] || continue
        candidate=${candidate#"$kept"}
        [[ -n $candidate ]] || continue
        # bash quotes paths itself.
        [[ -n $quote$paths ]] || printf -v candidate %q "$candidate"
        COMPREPLY+=("$candidate")
    done
    # Outside of a completion, in a test, compopt has nothing to change.
    [[ -z $paths ]] || compopt -o filenames 2>/dev/null
    ((!(directive & 2))) || compopt -o nospace 2>/dev/null
    ((!(directive & (4 | 8 | 16)))) || compopt +o default 2>/dev/null
}

complete -o default -F _bootc_podman bootc-podman
