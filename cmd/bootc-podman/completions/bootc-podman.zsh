#compdef bootc-podman
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Completes the command lines of bootc-podman(8) in zsh: as the file _bootc-podman
# in $fpath, or read by "source" after compinit.

_bootc-podman() {
    local program=${(Q)words[1]} typed=${(Q)PREFIX} tab=$'\t' line
    local -a lines candidates
    local -i directive=4
    # The name may be an alias.
    (( $+commands[$program] )) || [[ $program == */* && -x $program ]] || program=bootc-podman
    lines=("${(@f)$("$program" __complete "${(@Q)words[2,CURRENT-1]}" "$typed" 2>/dev/null)}")
    if [[ $lines[-1] == :<-> ]]; then
        directive=${lines[-1]#:}
        lines[-1]=()
    fi
    # Candidates are for the value of --option=value.
    if [[ $typed == -*=* ]]; then
        IPREFIX+=${PREFIX%%=*}=
        PREFIX=${PREFIX#*=}
    fi

    if (( directive & 16 )); then
        _files -/
        return
    elif (( directive & 8 )); then
        _files -g "*.(${(j:|:)lines})"
        return
    fi
    for line in $lines; do
        # _describe needs a colon in the place of the tab.
        line=${line//:/\\:}
        candidates+=("${line/$tab/:}")
    done
    if (( $#candidates )); then
        if (( directive & 2 )); then
            _describe bootc-podman candidates -S ''
        else
            _describe bootc-podman candidates
        fi
    elif (( !(directive & 4) )); then
        _files
    else
        return 1
    fi
}

if [[ $funcstack[1] == _bootc-podman ]]; then
    _bootc-podman "$@"
else
    compdef _bootc-podman bootc-podman
fi
