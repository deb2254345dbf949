# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of migpolicy for fish: what the command itself tells of its commands and options.

function __migpolicy_verb
    string match -r '^[a-z]+$' -- (commandline -opc)[2..-1] | head -n 1
end

function __migpolicy_verbs
    migpolicy help 2>/dev/null | sed -n '/^Commands/,/^Options/s/^  \([a-z]*\) .*  \([^ ].*\)$/\1\t\2/p'
end

function __migpolicy_options
    migpolicy help (__migpolicy_verb) 2>/dev/null | sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\)[^ ]*  *\(.*\)$/\2\t\3/p'
end

# Names are hostile text: fish quotes them, and those that JSON has to escape are left out.
function __migpolicy_vms
    migpolicy status --json --all 2>/dev/null | sed -n 's/^ *"vm": *"\([^\\\\]*\)",\{0,1\}$/\1/p'
end

function __migpolicy_questions
    migpolicy pending --no-legend -q 2>/dev/null | sed 's/^ *\([0-9]*\)  *\(.*\)$/\1\t\2/'
end

complete -c migpolicy -f
complete -c migpolicy -n 'string match -q -- "-*" (commandline -ct)' -a '(__migpolicy_options)'
complete -c migpolicy -n 'test -z "$(__migpolicy_verb)"; or test "$(__migpolicy_verb)" = help' -a '(__migpolicy_verbs)'
complete -c migpolicy -n 'contains -- "$(__migpolicy_verb)" approve deny' -a '(__migpolicy_questions)'
complete -c migpolicy -n 'contains -- "$(__migpolicy_verb)" status set unset show explain history watch wait predict replay release pause resume' -a '(__migpolicy_vms)'
complete -c migpolicy -n 'contains -- "$(__migpolicy_verb)" check replay apply' -F
